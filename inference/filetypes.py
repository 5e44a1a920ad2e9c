"""What kind of file some bytes are, by their content; for unaccepted ones, a name a person understands."""

ACCEPTED = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
}
"""The accepted formats by Pillow's name, with their media types."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)

_FOREIGN = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript file"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an MP3 file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"data:", "the text of a data URI (send the decoded bytes)"),
    (b"/9j/", "base64 text (send the decoded bytes)"),
    (b"iVBORw0KGgo", "base64 text (send the decoded bytes)"),
)

_ISO_BRANDS = (
    ((b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"mif1", b"msf1"), "a HEIC/HEIF photo"),
    ((b"avif", b"avis"), "an AVIF image"),
    ((b"crx ",), "a camera's raw file (CR3)"),
    ((b"qt  ",), "a QuickTime video"),
)

_MARKUP = (
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
)


def accepted_format(data: bytes) -> str | None:
    """A key of `ACCEPTED`, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for signature, name in _SIGNATURES if data.startswith(signature)), None)


def name_of(data: bytes) -> str:
    """What a file that is not accepted seems to be, with its article: "a PDF document"."""
    if data[4:8] == b"ftyp":
        return next((name for brands, name in _ISO_BRANDS if data[8:12] in brands), "an MP4 video")
    if data[:4] == b"RIFF":
        return "an AVI video" if data[8:12] == b"AVI " else "a RIFF file"
    foreign = next((name for signature, name in _FOREIGN if data.startswith(signature)), None)
    return foreign or _text_kind(data[:2048].lstrip(b"\xef\xbb\xbf \t\r\n").lower())


def _text_kind(head: bytes) -> str:
    if head.startswith(b"<"):  # an SVG may follow an XML declaration and comments
        return next((name for marker, name in _MARKUP if marker in head), "an XML document")
    if head.startswith((b"{", b"[")):
        return "JSON text"
    if not head.strip(b"\x00"):
        return "a file of zeros or blanks"
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return "text" if printable > 0.95 * len(head) else "a file of unknown type"
