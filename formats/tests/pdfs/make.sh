#!/bin/sh
# Makes the samples of other makers anew. Needs Ghostscript, Chromium, LibreOffice, qpdf, poppler-utils, python3-cairo
# and, from PyPI, reportlab, pypdf, fpdf2 and PyMuPDF.
set -eu
cd "$(dirname "$0")"
python3 make.py
qpdf --linearize reportlab.pdf qpdf-linearised.pdf
qpdf --linearize --object-streams=generate reportlab.pdf qpdf-linearised-streams.pdf
qpdf --object-streams=generate reportlab.pdf qpdf-xref-stream.pdf
qpdf --qdf reportlab.pdf qpdf-qdf.pdf
qpdf --encrypt "" x 256 -- reportlab.pdf encrypted.pdf
qpdf --encrypt u x 128 --use-aes=y -- reportlab.pdf encrypted-user.pdf
gs -q -dNOPAUSE -dBATCH -sDEVICE=pdfwrite -o ghostscript.pdf reportlab.pdf
gs -q -dNOPAUSE -dBATCH -sDEVICE=pdfwrite -dPDFA=2 -o ghostscript-pdfa.pdf reportlab.pdf
gs -q -dNOPAUSE -dBATCH -sDEVICE=pdfwrite -dCompatibilityLevel=1.3 -o ghostscript-13.pdf reportlab.pdf
pdfunite reportlab.pdf cairo.pdf poppler-unite.pdf
chromium --headless --no-sandbox --disable-gpu --no-pdf-header-footer --print-to-pdf=chromium.pdf contract.html
soffice --headless --convert-to pdf notice.html
mv notice.pdf libreoffice.pdf
