// Draws the plots one after the other, so that the page can be read from the start.
"use strict";
(() => {
  // "currentColor" takes the page's ink, in the dark and on paper too, without drawing again.
  const quiet = { labelColor: "currentColor", titleColor: "currentColor", labelFontSize: 11, titleFontSize: 12 };
  const config = {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: { ...quiet, domainColor: "#888", tickColor: "#888", gridColor: "#888", gridOpacity: 0.25 },
    legend: { ...quiet, orient: "bottom", columns: 3, labelLimit: 260, symbolStrokeWidth: 2 },
    header: quiet,
    title: { color: "currentColor" },
    text: { color: "currentColor" },
  };
  const failed = (place, error) => {
    const line = document.createElement("p");
    line.className = "warning";
    line.textContent = `This plot could not be drawn: ${error}. Its numbers are in the table below.`;
    place.replaceChildren(line);
  };
  const save = (view, name, kind) => async () => {
    const url = await view.toImageURL(kind, kind === "png" ? 2 : 1);
    const link = document.createElement("a");
    link.href = url;
    link.download = `${name}.${kind}`;
    link.click();
  };
  const draw = async (place) => {
    const spec = JSON.parse(document.getElementById(place.dataset.spec).textContent);
    const title = document.getElementById(`${place.id}-title`).textContent;
    const words = document.getElementById(`${place.id}-words`).textContent;
    // The interpreter runs no text as code, so that the page can forbid it.
    const options = { ast: true, renderer: "svg", actions: false, config, tooltip: { theme: "custom" } };
    const result = await vegaEmbed(place, { ...spec, width: "container", autosize: { type: "fit-x", contains: "padding" }, description: `${title}. ${words}` }, options);
    const bar = document.createElement("p");
    bar.className = "export";
    for (const kind of ["svg", "png"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `Save as ${kind.toUpperCase()}`;
      button.setAttribute("aria-label", `Save ${title} as ${kind.toUpperCase()}`);
      button.addEventListener("click", save(result.view, place.id, kind));
      bar.append(button);
    }
    place.after(bar);
  };
  const all = async () => {
    for (const place of document.querySelectorAll(".plot")) {
      try {
        await draw(place);
      } catch (error) {
        failed(place, error);
      }
      await new Promise((done) => setTimeout(done));
    }
    document.documentElement.dataset.drawn = "yes";
  };
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details")) one.open = true;
  });
  all();
})();
