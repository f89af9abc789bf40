"""Makes signed PDFs with other people's libraries, good ones and tampered ones, and has pyHanko judge each.

    python make_pdfs.py FOLDER

writes FOLDER/*.pdf, FOLDER/root.pem and, a line for each file, its name and pyHanko's verdict.
"""

import datetime
import io
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign import fields, signers, timestamps
from pyhanko.sign.validation import validate_pdf_signature, validate_pdf_timestamp
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.registry import SimpleCertificateStore
from reportlab.pdfgen import canvas

folder = Path(sys.argv[1])
NOW = datetime.datetime.now(datetime.timezone.utc)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"), x509.NameAttribute(NameOID.COMMON_NAME, text)])


def usage(**set_):
    names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{key: set_.get(key, False) for key in names})


def issue(subject, issuer, key, issuer_key, *extensions):
    builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(NOW - datetime.timedelta(days=1))
    builder = builder.not_valid_after(NOW + datetime.timedelta(days=365))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return builder.add_extension(issuer_id, False).sign(issuer_key, hashes.SHA256())


def certificate(made):
    return asn1_x509.Certificate.load(made.public_bytes(serialization.Encoding.DER))


def private(key):
    return asn1_keys.PrivateKeyInfo.load(key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
tsa_key = rsa.generate_private_key(65537, 2048)
root = issue("Root", "Root", root_key, root_key,
             (x509.BasicConstraints(True, None), True), (usage(key_cert_sign=True, crl_sign=True), True))
leaf = issue("Signer", "Root", key, root_key, (usage(digital_signature=True, content_commitment=True), True))
tsa = issue("TSA", "Root", tsa_key, root_key, (usage(digital_signature=True), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True))
crl = x509.CertificateRevocationListBuilder().issuer_name(name("Root"))
crl = crl.last_update(NOW - datetime.timedelta(hours=1)).next_update(NOW + datetime.timedelta(days=1))
crl = crl.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
(folder / "root.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))

registry = SimpleCertificateStore()
registry.register(certificate(root))
signer = signers.SimpleSigner(signing_cert=certificate(leaf), signing_key=private(key), cert_registry=registry)
stamper = timestamps.DummyTimeStamper(tsa_cert=certificate(tsa), tsa_key=private(tsa_key), certs_to_embed=registry)


def context():
    return ValidationContext(trust_roots=[certificate(root)], crls=[crl], allow_fetching=False,
                             revocation_mode="soft-fail")


def plain():
    out = io.BytesIO()
    page = canvas.Canvas(out)
    page.drawString(72, 720, "Notice of approval")
    page.acroForm.textfield(name="town", x=72, y=600, width=200, height=20, value="")
    page.linkURL("https://www.example.com/", (72, 500, 200, 520))
    page.showPage()
    page.save()
    return out.getvalue()


def rebuilt(*options):
    (folder / "plain").write_bytes(plain())
    subprocess.run(["qpdf", *options, folder / "plain", folder / "rebuilt"], check=True)
    return (folder / "rebuilt").read_bytes()


def sign(octets, field, form=fields.SigSeedSubFilter.PADES, stamped=False, **metadata):
    writer = IncrementalPdfFileWriter(io.BytesIO(octets))
    metadata = signers.PdfSignatureMetadata(field_name=field, subfilter=form, **metadata)
    new = fields.SigFieldSpec(sig_field_name=field, box=(300, 100, 400, 150))
    pdf_signer = signers.PdfSigner(metadata, signer=signer, timestamper=stamper if stamped else None, new_field_spec=new)
    return pdf_signer.sign_pdf(writer).getvalue()


def updated(octets, change):
    writer = IncrementalPdfFileWriter(io.BytesIO(octets))
    change(writer)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def page_of(writer):
    return writer.root["/Pages"]["/Kids"][0]


def other_contents(writer):
    page = page_of(writer)
    page["/Contents"] = writer.add_object(generic.StreamObject(stream_data=b"BT (Evil) Tj ET"))
    writer.update_container(page)


def filled(writer):
    field = writer.root["/AcroForm"]["/Fields"][0]
    field["/V"] = generic.pdf_string("Xi'an")
    writer.update_container(field)


def noted(writer):
    note = generic.DictionaryObject({
        generic.pdf_name("/Type"): generic.pdf_name("/Annot"), generic.pdf_name("/Subtype"): generic.pdf_name("/Text"),
        generic.pdf_name("/Rect"): generic.ArrayObject(map(generic.NumberObject, [10, 10, 30, 30])),
        generic.pdf_name("/Contents"): generic.pdf_string("a note")})
    page = page_of(writer)
    page["/Annots"].append(writer.add_object(note))
    writer.update_container(page["/Annots"])


def scripted(writer):
    writer.root["/OpenAction"] = generic.DictionaryObject({
        generic.pdf_name("/S"): generic.pdf_name("/JavaScript"), generic.pdf_name("/JS"): generic.pdf_string("x")})
    writer.update_root()


def new_font(writer):
    fonts = page_of(writer)["/Resources"]["/Font"]
    font = fonts.raw_get(list(fonts)[0])
    font = font.get_object()
    font["/BaseFont"] = generic.pdf_name("/ZapfDingbats")
    writer.update_container(font)


def new_field(writer):
    form = writer.root["/AcroForm"]
    field = generic.DictionaryObject({
        generic.pdf_name("/T"): generic.pdf_string("overlay"), generic.pdf_name("/FT"): generic.pdf_name("/Tx")})
    form["/Fields"].append(writer.add_object(field))
    writer.update_container(form["/Fields"])


def titled(writer):
    writer.set_info(writer.add_object(generic.DictionaryObject(
        {generic.pdf_name("/Title"): generic.pdf_string("Notice")})))


def empty_update(writer):
    writer.update_root()


signed = sign(plain(), "First")
certified = {level: sign(plain(), "First", certify=True, docmdp_permissions=level) for level in fields.MDPPerm}
ltv = signers.PdfSigner(
    signers.PdfSignatureMetadata(field_name="First", subfilter=fields.SigSeedSubFilter.PADES, embed_validation_info=True,
                                 use_pades_lta=True, validation_context=context()),
    signer=signer, timestamper=stamper).sign_pdf(IncrementalPdfFileWriter(io.BytesIO(plain()))).getvalue()
flipped = bytearray(signed)
flipped[signed.index(b"/MediaBox") + 12] ^= 1

made = {
    "plain": plain(),
    "signed": signed,
    "adobe-form": sign(plain(), "First", form=fields.SigSeedSubFilter.ADOBE_PKCS7_DETACHED),
    "timestamped": sign(plain(), "First", stamped=True),
    "ltv": ltv,
    "certified-1": certified[fields.MDPPerm.NO_CHANGES],
    "certified-3": certified[fields.MDPPerm.ANNOTATE],
    "signed-twice": sign(signed, "Second"),
    "certified-2-signed": sign(certified[fields.MDPPerm.FILL_FORMS], "Second"),
    "linearized": sign(sign(rebuilt("--linearize"), "First"), "Second"),
    "object-streams": sign(sign(rebuilt("--object-streams=generate"), "First"), "Second"),
    "filled": updated(signed, filled),
    "certified-1-filled": updated(certified[fields.MDPPerm.NO_CHANGES], filled),
    "retitled": updated(signed, titled),
    "rewritten": updated(signed, empty_update),
    "flipped": bytes(flipped),
    "contents": updated(signed, other_contents),
    "contents-signed": sign(updated(signed, other_contents), "Second"),
    "script": updated(signed, scripted),
    "font": updated(signed, new_font),
    "new-field": updated(signed, new_field),
    "note": updated(signed, noted),
    "certified-3-note": updated(certified[fields.MDPPerm.ANNOTATE], noted),
    "certified-2-note": updated(certified[fields.MDPPerm.FILL_FORMS], noted),
    "trailing": signed + b"4 0 obj\n(evil)\nendobj\n",
}


def verdict(octets):
    try:
        reader = PdfFileReader(io.BytesIO(octets))
        verdicts = []
        for signature in reader.embedded_signatures:
            if signature.sig_object["/SubFilter"] == "/ETSI.RFC3161":
                status = validate_pdf_timestamp(signature, context())
                good = status.valid and status.intact and status.trusted
            else:
                status = validate_pdf_signature(signature, context())
                good = status.bottom_line
            verdicts.append("valid" if good else "invalid")
        return "unsigned" if not verdicts else "invalid" if "invalid" in verdicts else "valid"
    except Exception as error:  # whatever it stumbles over, it does not accept
        print(type(error).__name__, error, file=sys.stderr)
        return "invalid"


for label, octets in made.items():
    (folder / f"{label}.pdf").write_bytes(octets)
    print(label, verdict(octets), flush=True)
