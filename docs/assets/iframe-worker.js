// Search in pages that were opened from a disk: browsers start no worker for a file:// address,
// so the search's script runs in a hidden frame instead. The theme looks for the name IFrameWorker.
(() => {
  if (location.protocol !== "file:") return;

  class IFrameWorker extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      document.body.append(this.frame);
      const inside = this.frame.contentDocument;
      // Written, not assigned: otherwise some browsers replace the empty page later on.
      inside.open();
      inside.write("<!doctype html><title>search</title>");
      inside.close();
      const view = this.frame.contentWindow;
      const load = (src) =>
        new Promise((resolve, reject) => {
          const script = inside.createElement("script");
          script.src = src;
          script.onload = resolve;
          script.onerror = () => reject(new Error(`cannot load ${src}`));
          inside.head.append(script);
        });
      view.importScripts = (...urls) =>
        urls.reduce((before, src) => before.then(() => load(src)), Promise.resolve());
      view.postMessage = (data) =>
        setTimeout(() => this.dispatchEvent(new MessageEvent("message", { data })));
      this.loaded = load(new URL(url, document.baseURI).href);
      this.loaded.catch((error) => this.dispatchEvent(new ErrorEvent("error", { error })));
    }

    postMessage(data) {
      const view = this.frame.contentWindow;
      this.loaded.then(() => view.dispatchEvent(new view.MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  }

  window.IFrameWorker = window.Worker = IFrameWorker;
})();
