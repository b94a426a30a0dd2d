#!/usr/bin/env python3
"""Writes fuzz/corpus: a small file of each kind (seed-*), and files that are to be refused (bad-*).

Needs Pillow, numpy and OpenEXR. Files that the fuzzers found (found-*) are left alone.
"""

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy
import OpenEXR
from PIL import Image

CORPUS = Path(__file__).parent / "corpus"
W, H = 9, 7
HUGE = 60000


def put(path, data):
    path = CORPUS / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


# ---------------------------------------------------------------- pictures

def picture(mode="RGB"):
    image = Image.new("RGB", (W, H))
    image.putdata([(x * 28, y * 36, (x * y * 5) % 256) for y in range(H) for x in range(W)])
    if mode == "RGBA":
        image = image.convert("RGBA")
        image.putalpha(Image.linear_gradient("L").resize((W, H)))
        return image
    if mode == "I;16":
        return Image.fromarray(numpy.arange(W * H, dtype=numpy.uint16).reshape(H, W) * 1000)
    return image.convert(mode)


def saved(format, mode="RGB", **options):
    file = io.BytesIO()
    picture(mode).save(file, format, **options)
    return file.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color, *chunks):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def zeros(count, level=9):
    """So many zeros, deflated."""
    deflate, out = zlib.compressobj(level), b""
    for _ in range(count >> 20):
        out += deflate.compress(bytes(1 << 20))
    return out + deflate.flush()


def pngs():
    for name, mode in [("rgb", "RGB"), ("rgba", "RGBA"), ("grey", "L"), ("bit", "1"), ("palette", "P"), ("wide", "I;16")]:
        put(f"image/png/seed-{name}.png", saved("PNG", mode))
    frames = [picture(), picture().rotate(180)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    put("image/png/seed-animated.png", file.getvalue())
    whole = saved("PNG")
    put("image/png/bad-cut.png", whole[:-20])
    put("image/png/bad-checksum.png", whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    # A hundred kilobytes that unfold to a hundred megabytes, of a picture of 3.6 gigapixels.
    put("image/png/bad-bomb.png", png(HUGE, HUGE, 8, 0, (b"IDAT", zeros(100 << 20))))
    put("image/png/bad-bomb-of-bits.png", png(32000, 32000, 1, 0, (b"IDAT", zeros(1 << 20))))
    put("image/png/bad-sides.png", png(2**31 - 1, 2**31 - 1, 16, 6, (b"IDAT", zlib.compress(b""))))
    put("image/png/bad-nothing.png", png(0, 5, 8, 2, (b"IDAT", zlib.compress(b""))))
    put("image/png/bad-no-pixels.png", png(5, 5, 8, 2))
    put("image/png/bad-chunk-length.png", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**32 - 1) + b"IHDR")
    bomb = b"icc\0\0" + zeros(32 << 20)
    put("image/png/seed-profile-bomb.png", png(W, H, 8, 0, (b"iCCP", bomb), (b"zTXt", bomb),
        (b"IDAT", zlib.compress(bytes((W + 1) * H)))))


def jpegs():
    put("image/jpeg/seed-rgb.jpg", saved("JPEG", quality=50))
    put("image/jpeg/seed-grey.jpg", saved("JPEG", "L"))
    put("image/jpeg/seed-cmyk.jpg", saved("JPEG", "CMYK"))
    put("image/jpeg/seed-progressive.jpg", saved("JPEG", progressive=True))
    exif = Image.Exif()
    exif[0x0112] = 6
    put("image/jpeg/seed-turned.jpg", saved("JPEG", exif=exif))
    whole = saved("JPEG", "L")
    put("image/jpeg/bad-cut.jpg", whole[:-30])
    sof = whole.index(b"\xff\xc0") + 5
    put("image/jpeg/bad-sides.jpg", whole[:sof] + b"\xff\xff\xff\xff" + whole[sof + 4:])
    put("image/jpeg/bad-no-tables.jpg", b"\xff\xd8" + whole[whole.index(b"\xff\xda"):])
    put("image/jpeg/bad-segment.jpg", b"\xff\xd8\xff\xe0\x00\x00\xff\xd9")


def gifs():
    put("image/gif/seed-plain.gif", saved("GIF"))
    file = io.BytesIO()
    picture().save(file, "GIF", save_all=True, append_images=[picture().rotate(180)], duration=50)
    put("image/gif/seed-animated.gif", file.getvalue())
    whole = saved("GIF")
    put("image/gif/bad-cut.gif", whole[:-25])
    put("image/gif/bad-sides.gif", whole[:6] + b"\xff\xff\xff\xff" + whole[10:])
    put("image/gif/bad-no-frame.gif", b"GIF89a" + struct.pack("<HHBBB", 5, 5, 0, 0, 0) + b";")
    frame = whole.index(b",", 13 + 3 * (2 << (whole[10] & 7)))
    put("image/gif/bad-frame.gif", whole[:frame + 5] + b"\xff\xff\xff\xff" + whole[frame + 9:])


def webps():
    put("image/webp/seed-lossy.webp", saved("WEBP"))
    put("image/webp/seed-lossless.webp", saved("WEBP", lossless=True))
    put("image/webp/seed-alpha.webp", saved("WEBP", "RGBA"))
    file = io.BytesIO()
    picture().save(file, "WEBP", save_all=True, append_images=[picture().rotate(180)])
    put("image/webp/seed-animated.webp", file.getvalue())
    whole = saved("WEBP")
    put("image/webp/bad-cut.webp", whole[:-15])
    riff = lambda chunks: b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
    extended = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\xff\x00" + b"\xff\xff\x00"
    put("image/webp/bad-canvas.webp", riff(extended + whole[12:]))
    put("image/webp/bad-chunk.webp", b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\xff\x2f")
    lossless = b"\x2f" + struct.pack("<I", 16383 | 16383 << 14) + b"\x88\x88\x08\0"
    put("image/webp/bad-bomb.webp", riff(b"VP8L" + struct.pack("<I", len(lossless)) + lossless))


def tiff(tags, data=b"", start=8):
    ifd = struct.pack("<H", len(tags))
    for tag, kind, count, value in sorted(tags):
        ifd += struct.pack("<HHII", tag, kind, count, value)
    return b"II*\0" + struct.pack("<I", start) + ifd + b"\0\0\0\0" + data


def tiffs():
    for name, options in [("raw", {}), ("lzw", {"compression": "tiff_lzw"}),
                          ("deflate", {"compression": "tiff_adobe_deflate"}), ("packbits", {"compression": "packbits"})]:
        put(f"image/tiff/seed-{name}.tiff", saved("TIFF", **options))
    put("image/tiff/seed-wide.tiff", saved("TIFF", "I;16"))
    put("image/tiff/bad-cut.tiff", saved("TIFF")[:60])
    # width, height, bits, compression, interpretation, offsets, samples, rows a strip, byte counts
    def tags(width, height, compression, at, length, rows):
        return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1),
                (273, 4, 1, at), (277, 3, 1, 1), (278, 4, 1, rows), (279, 4, 1, length)]
    packed = zeros(8 << 20)
    at = 8 + 2 + 9 * 12 + 4
    put("image/tiff/bad-bomb.tiff", tiff(tags(HUGE, HUGE, 8, at, len(packed), HUGE), packed))
    put("image/tiff/bad-strip.tiff", tiff(tags(8000, 8000, 1, at, 2**32 - 1, 8000)))
    put("image/tiff/bad-offset.tiff", tiff(tags(9, 7, 1, 2**32 - 1, 63, 7)))
    put("image/tiff/bad-count.tiff", tiff([(256, 4, 2**32 - 1, 8), (257, 4, 1, 7)]))
    put("image/tiff/bad-loop.tiff", tiff([(254, 4, 1, 0)])[:-4] + struct.pack("<I", 8))
    put("image/tiff/bad-no-directory.tiff", b"II*\0\xff\xff\xff\xff")


def exrs():
    file = CORPUS / "x.exr"
    for name, compression in [("raw", OpenEXR.NO_COMPRESSION), ("rle", OpenEXR.RLE_COMPRESSION),
                              ("zip", OpenEXR.ZIP_COMPRESSION), ("piz", OpenEXR.PIZ_COMPRESSION),
                              ("pxr24", OpenEXR.PXR24_COMPRESSION), ("b44", OpenEXR.B44_COMPRESSION)]:
        depth = numpy.float16 if name == "b44" else numpy.float32
        pixels = (numpy.asarray(picture(), dtype=numpy.float32) / 255).astype(depth)
        header = {"compression": compression, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, {"RGB": pixels}).write(str(file))
        whole = file.read_bytes()
        put(f"image/exr/seed-{name}.exr", whole)
    file.unlink()
    put("image/exr/bad-cut.exr", whole[:-40])
    put("image/exr/bad-header.exr", whole[:30])
    for name, attributes, box in [
        ("sides", [b"dataWindow\0box2i\0", b"displayWindow\0box2i\0"], (0, 0, HUGE - 1, HUGE - 1)),
        ("window", [b"displayWindow\0box2i\0"], (-2**31, -2**31, 2**31 - 1, 2**31 - 1)),
        ("data-window", [b"dataWindow\0box2i\0"], (0, 0, 2**30, 2**30)),
        ("inside-out", [b"dataWindow\0box2i\0", b"displayWindow\0box2i\0"], (5, 5, -5, -5)),
    ]:
        changed = whole
        for attribute in attributes:
            at = changed.index(attribute) + len(attribute) + 4
            changed = changed[:at] + struct.pack("<iiii", *box) + changed[at + 16:]
        put(f"image/exr/bad-{name}.exr", changed)


def icons():
    put("image/ico/seed-png.ico", saved("ICO", "RGBA"))
    put("image/ico/seed-bmp.ico", saved("ICO", "RGBA", bitmap_format="bmp"))
    entry = lambda length, at: struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 9, 7, 0, 0, 1, 32, length, at)
    inner = png(HUGE, HUGE, 8, 0, (b"IDAT", zeros(1 << 20)))
    put("image/ico/bad-bomb.ico", entry(len(inner), 22) + inner)
    inner = struct.pack("<IiiHHIIiiII", 40, HUGE, 2 * HUGE, 1, 32, 0, 0, 0, 0, 0, 0)
    put("image/ico/bad-bmp-bomb.ico", entry(len(inner), 22) + inner)
    put("image/ico/bad-entry.ico", entry(2**32 - 1, 2**32 - 1))
    put("image/ico/bad-count.ico", struct.pack("<HHH", 0, 1, 65535))


def bmps():
    put("image/bmp/seed-rgb.bmp", saved("BMP"))
    put("image/bmp/seed-palette.bmp", saved("BMP", "P"))
    put("image/bmp/seed-bit.bmp", saved("BMP", "1"))
    put("image/bmp/seed-alpha.bmp", saved("BMP", "RGBA"))

    def bmp(width, height, bits=24, compression=0, colors=0, data=b"", size=40):
        info = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, compression, 0, 0, 0, colors, 0)
        return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(info)) + info + data
    palette = bytes(range(16)) * 64
    runs = b"\x09\x05\0\0" * 6 + b"\x09\x07\0\1"
    put("image/bmp/seed-runs.bmp", bmp(W, H, 8, 1, 256, palette[:1024] + runs))
    put("image/bmp/bad-cut.bmp", saved("BMP")[:100])
    put("image/bmp/bad-sides.bmp", bmp(HUGE, HUGE))
    put("image/bmp/bad-least.bmp", bmp(9, -2**31))
    put("image/bmp/bad-colors.bmp", bmp(9, 7, 8, 0, 2**32 - 1))
    put("image/bmp/bad-header.bmp", bmp(9, 7, size=2**32 - 1))
    put("image/bmp/bad-runs.bmp", bmp(30000, 30000, 8, 1, 256, palette[:1024] + b"\xff\x01" * 2000))


def tgas():
    put("image/tga/seed-rgb.tga", saved("TGA"))
    put("image/tga/seed-runs.tga", saved("TGA", compression="tga_rle"))
    put("image/tga/seed-palette.tga", saved("TGA", "P"))

    def tga(kind, width, height, bits, map_length=0, data=b""):
        return struct.pack("<BBBHHBHHHHBB", 0, int(map_length > 0), kind, 0, map_length, 24 if map_length else 0, 0, 0,
                           width, height, bits, 0) + data
    put("image/tga/bad-cut.tga", saved("TGA")[:40])
    put("image/tga/bad-sides.tga", tga(2, 65535, 65535, 32))
    put("image/tga/bad-runs.tga", tga(10, 65535, 65535, 24, data=b"\xff\1\2\3" * 500))
    put("image/tga/bad-map.tga", tga(1, 9, 7, 8, 65535))
    put("image/tga/bad-index.tga", tga(1, 9, 7, 8, 2, b"\0\0\0\1\1\1" + b"\xff" * 63))


def pnms():
    for name, mode in [("rgb.ppm", "RGB"), ("grey.pgm", "L"), ("bit.pbm", "1")]:
        put(f"image/pnm/seed-{name}", saved("PPM", mode))
    put("image/pnm/seed-text.ppm", b"P3\n# text\n2 1\n255\n1 2 3 250 251 252\n")
    put("image/pnm/seed-any.pam",
        b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n" + bytes(range(8)))
    put("image/pnm/bad-cut.ppm", saved("PPM")[:50])
    put("image/pnm/bad-sides.ppm", b"P6\n60000 60000\n255\n" + bytes(100))
    put("image/pnm/bad-numbers.ppm", b"P6\n99999999999999999999 1\n255\n")
    put("image/pnm/bad-depth.pam", b"P7\nWIDTH 60000\nHEIGHT 60000\nDEPTH 4294967295\nMAXVAL 255\nENDHDR\n")
    put("image/pnm/bad-text.pgm", b"P2\n2 1\n255\n999 -1\n")


def others():
    radiance = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 7 +X 9\n"
    put("image/hdr/seed-raw.hdr", radiance + bytes([100, 50, 25, 128]) * W * H)
    row = b"\2\2\0\x09" + b"\x89\x40" * 4
    put("image/hdr/seed-runs.hdr", radiance + row * H)
    put("image/hdr/bad-cut.hdr", radiance + bytes(40))
    put("image/hdr/bad-sides.hdr", radiance.replace(b"7", b"60000").replace(b"9", b"60000"))
    put("image/hdr/bad-numbers.hdr", radiance.replace(b"9", b"99999999999999"))
    put("image/hdr/bad-header.hdr", b"#?RADIANCE\n" + b"A" * 5000)

    qoi = b"qoif" + struct.pack(">IIBB", W, H, 3, 0)
    put("image/qoi/seed-rgb.qoi", qoi + b"\xfe\x10\x80\x20" + b"\xc0\x55\xaa\x80" * 4 + b"\xfd" + bytes(7) + b"\1")
    put("image/qoi/bad-cut.qoi", qoi + b"\xfe\x10")
    put("image/qoi/bad-sides.qoi", b"qoif" + struct.pack(">IIBB", HUGE, HUGE, 4, 0) + b"\xfd" * 2000 + bytes(7) + b"\1")

    # Blocks of four by four.
    file = io.BytesIO()
    picture("RGBA").resize((8, 8)).save(file, "DDS", pixel_format="DXT5")
    put("image/dds/seed-dxt5.dds", file.getvalue())
    file = io.BytesIO()
    picture().resize((8, 8)).save(file, "DDS", pixel_format="DXT1")
    whole = file.getvalue()
    put("image/dds/seed-dxt1.dds", whole)
    put("image/dds/bad-cut.dds", whole[:-20])
    put("image/dds/bad-sides.dds", whole[:12] + struct.pack("<II", HUGE, HUGE) + whole[20:])
    put("image/dds/bad-format.dds", whole[:84] + b"FAIL" + whole[88:])

    put("image/ff/seed-rgba.ff", b"farbfeld" + struct.pack(">II", W, H) + bytes(range(252)) * 2)
    put("image/ff/bad-cut.ff", b"farbfeld" + struct.pack(">II", W, H) + bytes(20))
    put("image/ff/bad-sides.ff", b"farbfeld" + struct.pack(">II", 2**32 - 1, 2**32 - 1))

    put("image/none/bad-empty", b"")
    put("image/none/bad-page.html", b"<!DOCTYPE html><title>403 Forbidden</title>" * 3)
    put("image/none/bad-movie.avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf")
    put("image/none/bad-archive.zip", b"PK\x03\x04" + bytes(26))


# ---------------------------------------------------------------- states and checkpoints

def safetensors(header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header + data


def tensor(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def states():
    good = safetensors({"__metadata__": {"k": "v"}, "a": tensor([3], 0, 12), "b": tensor([], 12, 16)}, bytes(16))
    put("state/seed-two.safetensors", good)
    put("state/seed-nothing.safetensors", safetensors({}))
    put("state/bad-empty.safetensors", b"")
    put("state/bad-cut.safetensors", good[:-3])
    put("state/bad-longer.safetensors", good + b"\0")
    put("state/bad-header-length.safetensors", struct.pack("<Q", 2**64 - 1) + b"{}")
    put("state/bad-header-past-end.safetensors", struct.pack("<Q", 99_000_000) + b"{}")
    put("state/bad-json.safetensors", safetensors(b"{\"a\":"))
    put("state/bad-nested.safetensors", safetensors(b"[" * 5000))
    put("state/bad-offsets.safetensors", safetensors({"a": tensor([1], 0, 2**63)}, bytes(4)))
    put("state/bad-backwards.safetensors", safetensors({"a": tensor([1], 4, 0)}, bytes(4)))
    put("state/bad-overlap.safetensors", safetensors({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, bytes(4)))
    put("state/bad-shape.safetensors", safetensors({"a": tensor([5], 0, 4)}, bytes(4)))
    put("state/bad-overflow.safetensors", safetensors({"a": tensor([2**32, 2**32], 0, 0)}))
    put("state/bad-hidden-overflow.safetensors", safetensors({"a": tensor([0, 2**40, 2**40], 0, 0)}))
    put("state/bad-five-dimensions.safetensors", safetensors({"a": tensor([1] * 5, 0, 4)}, bytes(4)))
    put("state/bad-halves.safetensors", safetensors({"a": tensor([2], 0, 4, "F16")}, bytes(4)))
    put("state/bad-kind.safetensors", safetensors({"a": tensor([1], 0, 4, "PY")}, bytes(4)))
    put("state/bad-pickle.pt", b"\x80\x02cos\nsystem\nX\x04\0\0\0echo\x85R.")
    put("state/bad-torch-archive.pt", b"PK\x03\x04" + bytes(26) + b"archive/data.pkl\x80\x02}q\0.")

    config = 'ngf = 1\nndf = 1\ndiscriminator = "pixel"\n'
    values = 3460

    def checkpoint(values=values, **metadata):
        metadata = {
            "format": "henshin-checkpoint-2", "steps": "7", "pictures": "7", "passed_over": "3,5", "config": config,
            "kernels": "", "device": "x", "fingerprint": "y", "sha256": "0" * 64,
        } | metadata
        header = {"__metadata__": {k: v for k, v in metadata.items() if v is not None}, "a": tensor([values], 0, 4 * values)}
        return safetensors(header, bytes(4 * values))
    put("checkpoint/seed-least.safetensors", checkpoint())
    put("checkpoint/bad-no-format.safetensors", checkpoint(8, format=None))
    put("checkpoint/bad-format.safetensors", checkpoint(8, format="henshin-checkpoint-999"))
    put("checkpoint/bad-no-config.safetensors", checkpoint(8, config=None))
    put("checkpoint/bad-config.safetensors", checkpoint(8, config="ngf = many"))
    put("checkpoint/bad-long-config.safetensors", checkpoint(8, config=" " * 70000))
    put("checkpoint/bad-larger.safetensors", checkpoint(8, config="ngf = 1024\nndf = 1024"))
    put("checkpoint/bad-steps.safetensors", checkpoint(steps="-1"))
    put("checkpoint/bad-passed-over.safetensors", checkpoint(passed_over="3,,x"))
    put("checkpoint/bad-no-checksum.safetensors", checkpoint(sha256=None))
    put("checkpoint/bad-checksum.safetensors", checkpoint(sha256="12"))
    put("checkpoint/bad-old.safetensors", checkpoint(format="henshin-checkpoint-1"))
    put("checkpoint/bad-cut.safetensors", checkpoint(8)[:-5])


# ---------------------------------------------------------------- weights

def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def rebuilt(key="0", kind="FloatStorage", numel=2, offset=0, shape=(2,), strides=(1,), view=b""):
    """The pickle of a tensor; `view` stands at the end of its storage's description."""
    numbers = lambda values: b"(" + b"".join(map(number, values)) + b"t"
    storage = text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number(numel) + view
    return (b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + b"tQ" + number(offset) + numbers(shape) + numbers(strides)
            + b"\x89ccollections\nOrderedDict\n)RtR")


def state_dict(*tensors):
    items = b"".join(text(f"t{i}") + tensor for i, tensor in enumerate(tensors))
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."


def archive(pickle, *storages, compression=zipfile.ZIP_STORED, byteorder="little", root="archive"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as entries:
        put_in = lambda name, data: entries.writestr(zipfile.ZipInfo(f"{root}/{name}"), data, compress_type=compression)
        put_in("data.pkl", pickle)
        put_in("byteorder", byteorder)
        for i, storage in enumerate(storages):
            put_in(f"data/{i}", storage)
    return file.getvalue()


def legacy(pickle, *storages, little=b"\x88"):
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    machine = b"\x80\x02}(" + text("little_endian") + little + b"u."
    keys = b"\x80\x02](" + b"".join(text(str(i)) for i in range(len(storages))) + b"e."
    lengths = [struct.pack("<q", len(storage) // 4) + storage for storage in storages]
    return magic + machine + pickle + keys + b"".join(lengths)


def exchanged():
    two = struct.pack("<2f", 1, -2)
    good = state_dict(rebuilt())
    put("pickle/seed-one.pkl", good)
    put("pickle/seed-view.pkl", state_dict(rebuilt(view=b"(" + text("1") + number(0) + number(2) + b"t")))
    put("pickle/seed-pairs.pkl", b"ccollections\nOrderedDict\n(]q\0(]q\1(U\x01aK\x05eetR.")
    put("pickle/seed-inside.pkl", b"\x80\x02}(" + text("epoch") + b"K\x07" + text("net_g") + good[2:-1] + b"u.")
    put("pickle/seed-itself.pkl", b"\x80\x02}q\0" + text("a") + b"h\0s.")
    put("pickle/bad-system.pkl", b"\x80\x02cos\nsystem\n" + text("echo") + b"\x85R.")
    put("pickle/bad-eval.pkl", b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93" + text("1") + b"\x85R.")
    put("pickle/bad-object.pkl", b"\x80\x02ccollections\nOrderedDict\n)\x81.")
    put("pickle/bad-build.pkl", b"\x80\x02ccollections\nOrderedDict\n}b.")
    put("pickle/bad-class.pkl", state_dict(rebuilt(kind="ComplexFloatStorage")))
    put("pickle/bad-cut.pkl", good[:-30])
    put("pickle/bad-empty.pkl", b"")
    put("pickle/bad-extent.pkl", state_dict(rebuilt(shape=(-1,))))
    put("pickle/bad-length.pkl", b"\x80\x02\x8d" + b"\xff" * 8 + b"x.")
    put("pickle/bad-line.pkl", b"\x80\x02cos")
    put("pickle/bad-mark.pkl", b"\x80\x02N(0.")
    put("pickle/bad-memo.pkl", b"\x80\x02h\x05.")
    put("pickle/bad-rank.pkl", state_dict(rebuilt(shape=(1,) * 9, strides=(1,) * 9)))
    put("pickle/bad-strides.pkl", state_dict(rebuilt(strides=(1, 1))))
    put("pickle/bad-text.pkl", b"\x80\x02X\x02\0\0\0\xff\xff.")
    put("pickle/bad-version.pkl", b"\x80\x09.")
    put("pickle/bad-many.pkl", b"ccollections\nOrderedDict\nq\0(" + b"NN\x86" * 999 + b"lq\x01" + b"h\0h\x01\x85R" * 1500 + b".")

    put("pth/seed-archive.pth", archive(good, two))
    put("pth/seed-strided.pth", archive(state_dict(rebuilt(numel=6, shape=(3, 2), strides=(1, 3))), bytes(24)))
    put("pth/seed-legacy.pth", legacy(good, two))
    put("pth/seed-plain.safetensors", safetensors({"a": tensor([2], 0, 4, "BF16")}, bytes(4)))
    put("pth/bad-empty.pth", b"")
    put("pth/bad-nothing.pth", archive(b"\x80\x02}."))
    put("pth/bad-system.pth", archive(b"\x80\x02cos\nsystem\n" + text("echo") + b"\x85R."))
    put("pth/bad-cut.pth", archive(good, two)[:-30])
    put("pth/bad-checksum.pth", archive(good, two).replace(two, two[::-1]))
    put("pth/bad-compressed.pth", archive(good, bytes(1000), compression=zipfile.ZIP_DEFLATED))
    put("pth/bad-big-endian.pth", archive(good, two, byteorder="big"))
    put("pth/bad-no-storage.pth", archive(good))
    put("pth/bad-short-storage.pth", archive(good, two[:4]))
    put("pth/bad-past-end.pth", archive(state_dict(rebuilt(offset=1)), two))
    put("pth/bad-stride.pth", archive(state_dict(rebuilt(strides=(2**31 - 1,))), two))
    put("pth/bad-overflow.pth", archive(state_dict(rebuilt(shape=(2**31 - 1,) * 8, strides=(0,) * 8)), two))
    put("pth/bad-expanded.pth", archive(state_dict(rebuilt(shape=(10**6,), strides=(0,))), two))
    put("pth/bad-several.pth", archive(b"\x80\x02}(" + b"".join(text(name) + good[2:-1] for name in ["a", "b"]) + b"u.", two))
    put("pth/bad-two-roots.pth", archive_of({"a/data.pkl": good, "b/data.pkl": good}))
    put("pth/bad-no-pickle.pth", archive_of({"archive/x": b""}))
    end = archive(good, two)
    at = end.rindex(b"PK\5\6")
    put("pth/bad-count.pth", end[:at + 8] + b"\xff\xff\xff\xff" + end[at + 12:])
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 10**6, 10**6, 2**40, 0)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, at, 1)
    put("pth/bad-count-of-many.pth", end[:at] + record + locator + end[at:at + 8] + b"\xff" * 12 + end[at + 20:])
    put("pth/bad-magic.pth", b"\x80\x02K\x01.")
    put("pth/bad-legacy-big-endian.pth", legacy(good, two, little=b"\x89"))
    put("pth/bad-legacy-cut.pth", legacy(good, two)[:-1])
    put("pth/bad-legacy-length.pth", legacy(good, two)[:-16] + struct.pack("<q", -1) + two)
    put("pth/bad-legacy-key.pth", legacy(good, two, two))
    put("pth/bad-dtype.safetensors", safetensors({"a": tensor([2], 0, 2, "F8_E4M3")}, bytes(2)))
    put("pth/bad-page.html", "<!doctype html>")


def archive_of(entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, data in entries.items():
            zipped.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


# ---------------------------------------------------------------- text

def texts():
    put("settings/seed-some.toml", 'preset = "paper"\nngf = 16\nlambda_a = 5\nstyle = 2\ndiffaugment = "color,cutout"\n')
    put("settings/seed-stages.toml", 'stages = "64:10,128:5:2"\nload_size = 0\nprecision = "mixed"\n')
    put("settings/seed-empty.toml", "# nothing\n")
    put("settings/bad-not-text.toml", b"\xff\xfe\0n\0g\0f")
    put("settings/bad-not-toml.toml", "ngf = 16\nngf 32\n")
    put("settings/bad-twice.toml", "ngf = 16\nngf = 32\n")
    put("settings/bad-nested.toml", "ngf = " + "[" * 5000)
    put("settings/bad-tables.toml", "a." * 2000 + "b = 1\n")
    put("settings/bad-long.toml", "#" * 70000)
    put("settings/bad-long-name.toml", "n" * 5000 + " = 1\n")
    put("settings/bad-name.toml", "lamda_a = 5\n")
    put("settings/bad-kind.toml", 'ngf = "many"\n')
    put("settings/bad-number.toml", "ngf = 99999999999999999999\n")
    put("settings/bad-negative.toml", "ngf = -1\n")
    put("settings/bad-nan.toml", "lambda_a = nan\n")
    put("settings/bad-preset.toml", 'preset = "photo"\n')
    put("settings/bad-size.toml", "size = 9223372036854775807\n")
    put("settings/bad-stages.toml", f'stages = "{"9" * 200}"\n')
    put("settings/bad-every.toml", "sample_every = 0\n")

    put("strings/seed-stages", "64:4000, 128:4000:4,256:8000:1")
    put("strings/seed-kinds", "color,translation,cutout")
    put("strings/seed-none", "")
    put("strings/bad-kind", "colour")
    put("strings/bad-stage", "64:")
    put("strings/bad-parts", "64:1:2:3")
    put("strings/bad-negative", "64:-1")
    put("strings/bad-last-size", f"{2**64 - 1}:1")
    put("strings/bad-steps", f"64:{2**64 - 1}")
    put("strings/bad-beyond", f"{2**64}:1")
    put("strings/bad-batch", "64:1:0")
    put("strings/bad-long", "x" * 5000)
    put("strings/bad-not-text", b"64:\xff")

    options = {
        "photos": "photos", "anime": "anime", "size": 64, "val": 1, "seed": 1, "align": "landmarks",
        "faces": "largest", "anime_crop": "detect", "background": [255] * 3, "face_height": None,
        "filters": {"min_face": 24.0, "min_sharpness": 5.0, "min_brightness": 25.0, "max_turn": 0.95,
                    "max_flatness": 0.5, "near_duplicates": 2},
        "styles": "whole",
    }
    landmarks = {"eyes": [[30, 40], [70, 40]], "nose": [50, 60], "mouth": [50, 80], "brows": [50, 30], "chin": [50, 100]}

    def entry(file):
        return {"domain": "A", "file": file, "source": "1.png", "extent": [100, 120],
                "frame": {"centre": [50, 60], "side": 90.5, "angle": 0.1}, "framing": "landmarks",
                "face": landmarks, "score": 0.9}

    def manifest(*pictures, **other):
        source = lambda domain: {"domain": domain, "grouping": "picture", "licence": None}
        return json.dumps({
            "format": "henshin dataset", "version": 2, "options": options,
            "placement": {"face_height": 0.5, "eyes": 0.4}, "sources": [source("A"), source("B")],
            "pictures": pictures,
            "left_out": [{"domain": "B", "source": "x.png", "cause": "no_face", "reason": "no face found"}],
        } | other)
    put("manifest/seed-empty.json", manifest())
    put("manifest/seed-divided.json", manifest(division={"sizes": [3, 2], "silhouettes": [[2, 0.5]]}))
    put("manifest/bad-missing.json", manifest(entry("trainA/1.png")))
    put("manifest/bad-parent.json", manifest(entry("trainA/../../secret.png")))
    put("manifest/bad-absolute.json", manifest(entry("/etc/passwd")))
    put("manifest/bad-nameless.json", manifest(entry("")))
    put("manifest/bad-format.json", manifest(format="somebody else's"))
    put("manifest/bad-cut.json", manifest()[:-10])
    put("manifest/bad-more.json", manifest() + "}")
    put("manifest/bad-nested.json", manifest(left_out=[])[:-1] + ', "x": ' + "[" * 5000)
    put("manifest/bad-not-text.json", manifest().encode("utf-16"))
    put("manifest/bad-number.json", manifest(version=1e300))
    put("manifest/bad-empty.json", "")

    def line(extent=(100, 120), landmarks=landmarks, source="a/1.png"):
        found = {"landmarks": landmarks, "score": 0.9,
                 "measures": {"sharpness": 90.5, "brightness": 100.0, "flatness": 0.1}}
        outcome = {"Ok": {"extent": extent, "content": 2**64 - 1, "look": [1, 2, 3, 2**63], "faces": [found]}}
        return json.dumps({"domain": "A", "source": source, "stamp": [100, 1700000000000000000], "outcome": outcome}) + "\n"
    refused = json.dumps({"domain": "B", "source": "2.png", "stamp": [0, 0],
                          "outcome": {"Err": {"cause": "broken", "reason": "not an image"}}}) + "\n"
    put("journal/seed-two.jsonl", line() + refused)
    put("journal/seed-empty.jsonl", "")
    put("journal/bad-cut.jsonl", refused + line()[:-30])
    put("journal/bad-no-end.jsonl", refused + line()[:-1])
    put("journal/bad-extent.jsonl", refused + line(extent=(0, 2**32 - 1)))
    put("journal/bad-far.jsonl", refused + line(landmarks=landmarks | {"chin": [1e300, 1e300]}))
    put("journal/bad-face.jsonl", refused + line(landmarks=landmarks | {"eyes": [[0, 0], [0, 0]]}))
    put("journal/bad-nested.jsonl", refused + "[" * 5000 + "\n")
    put("journal/bad-not-text.jsonl", refused.encode() + b"\xff\xfe\n" + line().encode())
    put("journal/bad-nul.jsonl", b"\0" + refused.encode())

    step = lambda i: json.dumps({"step": i, "G_A": 0.5, "learning_rate": 2e-4}) + "\n"
    put("metrics/seed-three.jsonl", step(1) + step(2) + step(3))
    put("metrics/seed-empty.jsonl", "")
    put("metrics/bad-cut.jsonl", step(1) + step(2)[:-9])
    put("metrics/bad-later.jsonl", step(3) + step(4) + step(2**64 - 1))
    put("metrics/bad-step.jsonl", step(-1) + step(1.5) + step("1") + step(2))
    put("metrics/bad-nested.jsonl", "[" * 5000 + "\n" + step(1))
    put("metrics/bad-long.jsonl", step(1) + "{" + " " * 66000 + "\n" + step(2))
    put("metrics/bad-not-text.jsonl", step(1).encode() + b"\xff\xff\n" + step(2).encode())

    put("choices/seed-two.tsv", "device\tconv 3x3\ttiled\ndevice\tconv 4x4\twinograd\nother\tx\ty\n")
    put("choices/bad-other.tsv", "other device\tconv\ttiled\n")
    put("choices/bad-parts.tsv", "device\tconv\n" + "device\ta\tb\tc\n" + "\t" * 5000 + "\n")
    put("choices/bad-not-text.tsv", b"device\tconv\t\xff\n")
    put("choices/bad-nul.tsv", b"\0" * 100)

    names = {f"conv{i}/{name}": [1, 1, 1, 1] for i in range(1, 6) for name in ["depthwise_filter", "pointwise_filter"]}
    names |= {f"conv{i}/filters": [1, 1, 1, 1] for i in [0, 8]} | {f"conv{i}/bias": [1] for i in [0, 1, 2, 3, 4, 5, 8]}

    def weights(names=names, data=None, dtype="uint8"):
        of = lambda name, shape: {"name": name, "shape": shape, "quantization": {"dtype": dtype, "scale": 0.5, "min": -1}}
        text = json.dumps([{"weights": [of(*entry) for entry in names.items()]}])
        return text.encode() + b"\n" + (bytes(range(len(names))) if data is None else data)
    put("weights/seed-detector", weights())
    put("weights/bad-missing", weights({"conv0/filters": [1, 1, 1, 1]}))
    put("weights/bad-short", weights(data=b""))
    put("weights/bad-more", weights(data=bytes(len(names) + 1)))
    put("weights/bad-rank", weights(names | {"conv0/bias": [1, 1]}))
    put("weights/bad-dtype", weights(dtype="float32"))
    put("weights/bad-overflow", weights({"conv0/bias": [2**32, 2**32]}, b""))
    put("weights/bad-nothing", weights({"fc/weights": [0, 2**40], "fc/bias": [2**40, 0]}, b""))
    put("weights/bad-json", b"[{\"weights\":")
    put("weights/bad-nested", b"[" * 5000)


for make in [pngs, jpegs, gifs, webps, tiffs, exrs, icons, bmps, tgas, pnms, others, states, exchanged, texts]:
    CORPUS.mkdir(exist_ok=True)
    make()
