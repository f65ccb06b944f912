"""What a turn of a conversation can carry besides text."""

from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import urlsplit

from ._errors import InvalidInputError

__all__ = ["Attachment", "AttachmentKind"]

AttachmentKind = Literal["image", "file"]

# A server fetches what a URL names: never a path of its own.
_SCHEMES: dict[str, tuple[str, ...]] = {"image": ("https", "http", "data"), "file": ("data",)}


@dataclass(frozen=True, slots=True)
class Attachment:
    """An image or a file of a turn.

    Attributes:
        kind: What it is.
        url: Where it is, or the thing itself as a `data:` URL; files always are the latter. It is
            left out of `repr`, because it may be megabytes of somebody's document.
        name: Name of a file, as models are told it.

    Raises:
        InvalidInputError: There is no such kind, or the URL cannot be used; the message does not
            repeat it.

    Example:
        >>> Attachment("image", "https://example.com/cat.png")
        Attachment(kind='image', name='')
    """

    kind: AttachmentKind
    url: str = field(repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse what no server could be given."""
        if self.kind not in get_args(AttachmentKind):
            raise InvalidInputError(
                f"attachment kind is {self.kind!r}, expected one of "
                f"{', '.join(get_args(AttachmentKind))}",
                code="invalid-attachment",
            )
        try:
            scheme = urlsplit(self.url[:64]).scheme
        except ValueError:
            scheme = ""
        known = _SCHEMES[self.kind]
        if scheme not in known:
            raise InvalidInputError(
                f"the URL of an attached {self.kind} begins with {scheme!r}, expected"
                f" {' or '.join(known)}",
                hint="give what lies on this machine as a data: URL",
                code="invalid-attachment",
            )
