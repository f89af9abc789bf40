import pikepdf
from pikepdf import Array, Dictionary, Name

with pikepdf.open('reportlab.pdf') as pdf:
    pdf.save('pikepdf.pdf', object_stream_mode=pikepdf.ObjectStreamMode.generate, deterministic_id=True)
    pdf.save('pikepdf-linearised.pdf', linearize=True, deterministic_id=True)
with pikepdf.open('libreoffice-17.pdf') as pdf:
    # The catalog's own dictionaries direct, pages in a tree of two levels, an attachment.
    pdf.attachments['notes.txt'] = b'attached'
    page = pdf.pages[0].obj
    branch = pdf.make_indirect(Dictionary(Type=Name.Pages, Kids=Array([page]), Count=1, Parent=pdf.Root.Pages))
    page.Parent = branch
    pdf.Root.Pages.Kids = Array([branch])
    pdf.save('pikepdf-tree.pdf', deterministic_id=True)
with pikepdf.open('reportlab-form.pdf') as pdf:
    # A form without a default appearance, its fields in a list of their own.
    form = pdf.Root.AcroForm
    form.Fields = pdf.make_indirect(form.Fields)
    if '/DA' in form:
        del form['/DA']
    pdf.save('pikepdf-form.pdf', object_stream_mode=pikepdf.ObjectStreamMode.generate, deterministic_id=True)
with pikepdf.new() as pdf:
    for side in (600, 14400):
        pdf.add_blank_page(page_size=(side, side))
    pdf.save('pikepdf-blank.pdf', deterministic_id=True)
