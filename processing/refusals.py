"""Why a photo cannot be used, in words for its sender. Needs no decoder."""

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF")  # that are read
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif")  # of their files

_READ_KINDS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_READ_BRANDS = (b"WEBP", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def _(text: str) -> str:
    """Mark a text that is shown to people for translation."""
    return text


# Kinds that people send by mistake, by their first bytes, so that the message can name them.
_OTHER_KINDS = (
    (b"GIF8", _("a GIF")),
    (b"II*\0", _("a TIFF")),
    (b"MM\0*", _("a TIFF")),
    (b"BM", _("a BMP")),
    (b"%PDF", _("a PDF document")),
    (b"PK\x03\x04", _("a ZIP archive or office document")),
)


class ImageError(Exception):
    """The image cannot be used; the text can be shown to the sender.

    The text is `template` with `values` put in, so that it can be translated.
    """

    def __init__(self, template: str, **values: object) -> None:
        super().__init__(template % values)
        self.template, self.values = template, values


class UnsupportedImageError(ImageError):
    """Not an image of a supported kind."""


class AnimatedImageError(UnsupportedImageError):
    """An image of several frames, of which the one to judge is not known."""

    def __init__(self) -> None:
        super().__init__(_("The image is animated. Send a single still photo."))


class BrokenImageError(ImageError):
    """Empty, truncated, damaged, or made to harm."""


class DamagedImageError(BrokenImageError):
    """Damaged behind its header."""

    def __init__(self) -> None:
        super().__init__(_("The image is damaged or incomplete. Send the original again."))


class UndecodableImageError(BrokenImageError):
    """The decoder reached its time limit or ended."""

    def __init__(self) -> None:
        super().__init__(
            _(
                "This photo cannot be read: decoding it failed or took too long. Open it, save it "
                "as a JPEG, and send that."
            )
        )


class StrangeImageError(BrokenImageError):
    """Built as no camera or program builds files."""

    def __init__(self) -> None:
        super().__init__(
            _(
                "This photo cannot be read: its file has far more parts than a photo needs. Open "
                "it, save it as a JPEG, and send that."
            )
        )


class TooLargeImageError(ImageError):
    """Too large to be decoded."""


class TooManyPixelsError(TooLargeImageError):
    """More pixels than are read of its format."""

    def __init__(self, megapixels: int) -> None:
        super().__init__(
            _("The image has more than %(megapixels)d megapixels. Send a smaller copy."),
            megapixels=megapixels,
        )


class TooMuchMemoryError(TooLargeImageError):
    """Decoding takes more memory than is set aside for it."""

    def __init__(self) -> None:
        super().__init__(
            _(
                "The image is too large to decode. Send a smaller copy, or save it as an ordinary "
                "JPEG (not progressive)."
            )
        )


def explain_unreadable(data: bytes) -> ImageError:
    """Explain why the header cannot be read, from the first bytes."""
    if data.startswith(_READ_KINDS) or data[8:12] in _READ_BRANDS:
        return BrokenImageError(
            _("The image is damaged: its header cannot be read. Send the original again.")
        )
    kind = next((name for magic, name in _OTHER_KINDS if data.startswith(magic)), None)
    if data[128:132] == b"DICM":
        kind = _("a DICOM file")
    if kind is None:
        return UnsupportedImageError(
            _("This is not a JPEG, PNG, WebP or HEIC photo. Send one of these.")
        )
    return UnsupportedImageError(
        _("This is %(kind)s, not a JPEG, PNG, WebP or HEIC photo. Send one of these."), kind=kind
    )


class EmptyImageError(BrokenImageError):
    """A file without content."""

    def __init__(self) -> None:
        super().__init__(_("The file is empty. Choose the photo again."))
