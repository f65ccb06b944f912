"""How the Python API's pages read the code, beyond what griffe sees by itself.

- A section `Example:` counts as `Examples:`; else it would be a box in which `>>>` is a quotation.
- Named tuples and pydantic models are called with their fields: they get that signature.
- Enumerations say what their members are.
"""

import re
from collections.abc import Iterator

import griffe

EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
ENUMS = {"Enum", "IntEnum", "StrEnum", "Flag"}
RECORDS = {"BaseModel": griffe.ParameterKind.keyword_only}
RECORDS["NamedTuple"] = griffe.ParameterKind.positional_or_keyword
NO_FIELDS = ("ClassVar", "PrivateAttr")


class Interfaces(griffe.Extension):
    """Completes docstrings and signatures once all modules have been read."""

    def on_object(self, *, obj: griffe.Object, **_more: object) -> None:
        """Read the examples of one module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub("Examples:", obj.docstring.value)

    def on_class(self, *, cls: griffe.Class, **_more: object) -> None:
        """Tell the members of an enumeration, and the fields of a record."""
        bases = set(_bases(cls))
        if bases & ENUMS:
            values = ", ".join(f"`{one.name} = {one.value}`" for one in _own(cls) if one.value)
            text = cls.docstring.value if cls.docstring else ""
            cls.docstring = griffe.Docstring(f"{text}\n\nMembers: {values}.", parent=cls)
        for name in bases & RECORDS.keys():
            if "__init__" not in cls.members:
                cls.set_member("__init__", _init(cls, RECORDS[name]))


def _init(cls: griffe.Class, kind: griffe.ParameterKind) -> griffe.Function:
    """Return the constructor that the fields of a class and of its bases make."""
    fields = {one.name: one for each in (*reversed(_classes(cls)), cls) for one in _own(each)}
    taken = [
        griffe.Parameter(one.name, annotation=one.annotation, kind=kind, default=one.value)
        for one in fields.values()
        if one.annotation is not None
        and not one.name.startswith("_")
        and not any(word in str(one.annotation) for word in NO_FIELDS)
    ]
    own = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    return griffe.Function(
        "__init__", parameters=griffe.Parameters(own, *taken), parent=cls, lineno=cls.lineno
    )


def _own(cls: griffe.Class) -> list[griffe.Attribute]:
    return [one for one in cls.members.values() if isinstance(one, griffe.Attribute)]


def _classes(cls: griffe.Class) -> list[griffe.Class]:
    """Return the bases that are known here, nearest first."""
    try:
        return cls.mro()
    except ValueError:
        return []


def _bases(cls: griffe.Class) -> Iterator[str]:
    """Yield the last names of all bases, libraries' included."""
    for each in (cls, *_classes(cls)):
        yield from (str(base).rpartition(".")[2] for base in each.bases)
