#!/bin/sh
# Makes NotoSansSC-GB2312.otf anew from Debian's fonts-noto-cjk: formats/fonts/make.sh
# Same versions, same octets; needs python3 with venv, and the package at the version below.
set -eu

PACKAGE='1:20220127+repack1-1'
FONTTOOLS=4.60.1
SOURCE=/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc
SIMPLIFIED_CHINESE=2 # the face's place in the collection

folder=$(cd "$(dirname "$0")" && pwd)
installed=$(dpkg-query -W -f '${Version}' fonts-noto-cjk 2>/dev/null || true)
[ "$installed" = "$PACKAGE" ] || { echo "needs the package fonts-noto-cjk $PACKAGE, not '$installed'" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "fonttools==$FONTTOOLS"

# GB 2312 whole (both levels of characters, symbols, Greek, Cyrillic, kana), ASCII, and Latin of the European
# languages, without what has no shape of its own (soft hyphen).
"$work/venv/bin/python" - "$work/characters" <<'PYTHON'
import sys
characters = {chr(code) for code in (*range(0x20, 0x7F), *range(0xA0, 0x180), 0x2013, 0x20AC) if code != 0xAD}
for row in range(0xA1, 0xF8):
    for cell in range(0xA1, 0xFF):
        try:
            characters.add(bytes((row, cell)).decode("gb2312"))
        except UnicodeDecodeError:
            pass
open(sys.argv[1], "w", encoding="utf-8").write("".join(sorted(characters)))
PYTHON

"$work/venv/bin/pyftsubset" "$SOURCE" --font-number="$SIMPLIFIED_CHINESE" --text-file="$work/characters" \
    --output-file="$folder/NotoSansSC-GB2312.otf" --layout-features= --no-hinting --notdef-outline \
    --name-IDs=0,1,2,3,4,5,6,13,14 --name-languages=0x409 \
    --drop-tables+=vhea,vmtx,VORG,GPOS,GSUB,GDEF,BASE --no-recalc-timestamp
{
    printf 'Noto Sans CJK SC: (c) 2014-2021 Adobe (http://www.adobe.com/).\n'
    printf 'NotoSansSC-GB2312.otf is a subset of it: fewer characters, no layout tables, no hints.\n\n'
    sed -n '/^License: SIL-1.1$/,/^License: GPL/p' /usr/share/doc/fonts-noto-cjk/copyright |
        sed -e '/^License:/d' -e 's/^ \.$//' -e 's/^ //'
} | sed -n '/-----/,$p; 1,3p' | cat -s >"$folder/LICENSE.txt"
sha256sum "$folder/NotoSansSC-GB2312.otf"
