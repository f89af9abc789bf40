#!/bin/sh
# Makes further samples of other makers, of which those beside make.sh are the first. Needs Ghostscript, Chromium, LibreOffice
# (Writer and Calc), qpdf, poppler-utils and, from PyPI, pikepdf.
set -eu
cd "$(dirname "$0")"
soffice --headless --convert-to pdf:calc_pdf_Export table.csv
mv table.pdf libreoffice-calc.pdf
soffice --headless --convert-to odt:writer8 notice.html
soffice --headless --convert-to 'pdf:writer_pdf_Export:{"SelectPdfVersion":{"type":"long","value":"2"},"UseTaggedPDF":{"type":"boolean","value":"true"}}' notice.odt
mv notice.pdf libreoffice-pdfa-tagged.pdf
soffice --headless --convert-to 'pdf:writer_pdf_Export:{"SelectPdfVersion":{"type":"long","value":"17"},"ExportFormFields":{"type":"boolean","value":"true"}}' notice.odt
mv notice.pdf libreoffice-17.pdf
rm notice.odt
chromium-headless-shell --no-sandbox --disable-gpu --print-to-pdf=chromium-tagged.pdf notice.html
gs -q -dNOPAUSE -dBATCH -sDEVICE=pdfwrite -dPDFSETTINGS=/ebook -o ghostscript-of-libreoffice.pdf libreoffice-17.pdf
gs -q -dNOPAUSE -dBATCH -sDEVICE=pdfimage24 -r36 -o ghostscript-picture.pdf reportlab.pdf
pdftocairo -pdf -l 1 libreoffice-17.pdf poppler-cairo.pdf
pdfseparate -f 2 -l 2 reportlab.pdf poppler-separate.pdf
qpdf --linearize libreoffice-17.pdf qpdf-linearised-libreoffice.pdf
qpdf --object-streams=generate --compress-streams=y libreoffice-pdfa-tagged.pdf qpdf-streams-libreoffice.pdf
qpdf --empty --pages reportlab.pdf 1 libreoffice-17.pdf 1 -- qpdf-merged.pdf
qpdf --overlay fpdf2.pdf --to=1 -- reportlab.pdf qpdf-overlay.pdf
python3 more.py
