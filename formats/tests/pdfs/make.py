from reportlab.pdfgen import canvas
from reportlab.lib.pagesizes import A4, landscape
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
import pypdf
from pypdf.generic import *
pdfmetrics.registerFont(UnicodeCIDFont('STSong-Light'))
def make(name, size=A4, pages=3, **kw):
    c = canvas.Canvas(name, pagesize=size, invariant=1, **kw)
    for n in range(pages):
        c.setFont('STSong-Light', 14); c.drawString(100, 700 if size==A4 else 400, '合同 第%d页 （盖章处）' % (n+1))
        c.setFont('Helvetica', 12); c.drawString(100, 300, 'Page %d: sign here please' % (n+1))
        c.showPage()
    c.save()
make('reportlab.pdf'); make('reportlab-landscape.pdf', size=landscape(A4)); make('reportlab-plain.pdf', pageCompression=0)
def edit(out, f, src='reportlab.pdf'):
    w = pypdf.PdfWriter(clone_from=src)
    f(w); w.write(out)
def rot(w):
    for i,p in enumerate(w.pages): p[NameObject('/Rotate')] = NumberObject([90,180,270][i])
edit('pypdf-rotated.pdf', rot)
def crop(w):
    for p in w.pages:
        p[NameObject('/CropBox')] = ArrayObject([FloatObject(x) for x in (50,100,500,800)])
edit('pypdf-cropped.pdf', crop)
def unit(w):
    for p in w.pages: p[NameObject('/UserUnit')] = FloatObject(2.0)
edit('pypdf-userunit.pdf', unit)
def inherit(w):
    root = w._root_object['/Pages'].get_object()
    for k in ('/MediaBox','/Resources'):
        v = w.pages[0][k]
        root[NameObject(k)] = v
    for p in w.pages:
        for k in ('/MediaBox','/Resources'):
            if k in p: del p[k]
    root[NameObject('/Rotate')] = NumberObject(90)
edit('pypdf-inherited.pdf', inherit)
def js(w):
    w._root_object[NameObject('/OpenAction')] = w._add_object(DictionaryObject({NameObject('/S'): NameObject('/JavaScript'), NameObject('/JS'): TextStringObject("app.alert('x');")}))
edit('pypdf-javascript.pdf', js)
def annots(w):
    from pypdf.annotations import FreeText
    w.add_annotation(0, FreeText(text='note', rect=(50,50,200,100)))
    p = w.pages[0]; p[NameObject('/Annots')] = w._add_object(p['/Annots'].get_object())
edit('pypdf-annots.pdf', annots)
from fpdf import FPDF
f = FPDF(); f.add_page(); f.set_font('helvetica', size=14); f.cell(text='fpdf2: sign here'); f.add_page(); f.cell(text='two'); f.output('fpdf2.pdf')
c = canvas.Canvas('reportlab-form.pdf', pagesize=A4, invariant=1)
c.drawString(100,700,'form'); c.acroForm.textfield(name='name', x=100, y=600, width=200, height=20); c.showPage(); c.save()
import pymupdf
d = pymupdf.open(); p = d.new_page(); p.insert_text((72,72), 'mupdf: sign here'); p.insert_text((72,120), '请在此签字（盖章处）', fontname='china-s'); d.new_page(); d.save('mupdf.pdf', deflate=True); d.save('mupdf-objstms.pdf', deflate=True, use_objstms=1)
import cairo
s = cairo.PDFSurface('cairo.pdf', 595, 842); x = cairo.Context(s); x.select_font_face('Noto Sans CJK SC'); x.set_font_size(14)
for n in range(2):
    x.move_to(100,100); x.show_text('开罗 第%d页 （盖章处）' % (n+1)); s.show_page()
s.finish()

# Hybrid (ISO 32000-1, 7.5.8.4): a table, and a stream for the objects in an object stream.
def hybrid(name):
    out = bytearray(b'%PDF-1.5\n%\xe2\xe3\xcf\xd3\n'); at = {}
    def put(n, body):
        at[n] = len(out); out.extend(b'%d 0 obj\n' % n + body + b'\nendobj\n')
    put(1, b'<</Type/Catalog/Pages 2 0 R>>')
    put(2, b'<</Type/Pages/Kids[3 0 R]/Count 1>>')
    put(3, b'<</Type/Page/Parent 2 0 R/MediaBox[0 0 595.27559055 841.88976378]/Contents 4 0 R/Resources<</Font<</F 6 0 R>>>>>>')
    text = b'BT /F 14 Tf 100 700 Td (hybrid: sign here) Tj ET'
    put(4, b'<</Length %d>>stream\n' % len(text) + text + b'\nendstream')
    inner = b'6 0 '; member = b'<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>'
    put(5, b'<</Type/ObjStm/N 1/First %d/Length %d>>stream\n' % (len(inner), len(inner+member)) + inner + member + b'\nendstream')
    entries = b'\x02\x00\x00\x00\x05\x00\x00'
    put(7, b'<</Type/XRef/Size 8/Index[6 1]/W[1 4 2]/Root 1 0 R/Length 7>>stream\n' + entries + b'\nendstream')
    table = len(out)
    # No entry for the hidden object: poppler takes a free one for the truth.
    out.extend(b'xref\n0 6\n0000000000 65535 f\r\n')
    for n in range(1, 6):
        out.extend(b'%010d 00000 n\r\n' % at[n])
    out.extend(b'7 1\n%010d 00000 n\r\n' % at[7])
    out.extend(b'trailer\n<</Size 8/Root 1 0 R/XRefStm %d>>\nstartxref\n%d\n%%%%EOF\n' % (at[7], table))
    open(name, 'wb').write(out)
hybrid('hybrid.pdf')
