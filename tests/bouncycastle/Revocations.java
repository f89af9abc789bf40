import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPair;
import java.security.PrivateKey;
import java.time.Duration;
import java.time.Instant;
import java.util.Date;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DERNull;
import org.bouncycastle.asn1.ocsp.OCSPObjectIdentifiers;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.CRLReason;
import org.bouncycastle.asn1.x509.ExtendedKeyUsage;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.KeyPurposeId;
import org.bouncycastle.asn1.x509.KeyUsage;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.X509v2CRLBuilder;
import org.bouncycastle.cert.ocsp.BasicOCSPRespBuilder;
import org.bouncycastle.cert.ocsp.CertificateID;
import org.bouncycastle.cert.ocsp.CertificateStatus;
import org.bouncycastle.cert.ocsp.OCSPRespBuilder;
import org.bouncycastle.cert.ocsp.RespID;
import org.bouncycastle.cert.ocsp.RevokedStatus;
import org.bouncycastle.operator.DigestCalculatorProvider;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;

/**
 * What an SM2 authority tells of revocations: {@code ca.crl}, {@code ocsp.der} of the authority itself and {@code
 * ocsp-delegated.der} of a responder of its, all of them about {@code signer.pem}, which is good, and {@code
 * revoked.pem}. {@code altered.crl} and {@code ocsp-altered.der} have an octet of the signature changed, {@code
 * ocsp-stranger.der} is by a key that nobody certified.
 */
final class Revocations {
    private static final AlgorithmIdentifier SM3 =
        new AlgorithmIdentifier(new ASN1ObjectIdentifier("1.2.156.10197.1.401"), DERNull.INSTANCE);
    private static final Instant NOW = Instant.now();

    private final X509CertificateHolder root;
    private final X509CertificateHolder good;
    private final X509CertificateHolder revoked;

    private Revocations(X509CertificateHolder root, X509CertificateHolder good, X509CertificateHolder revoked) {
        this.root = root;
        this.good = good;
        this.revoked = revoked;
    }

    static void write(Path folder, KeyPair ca, X509CertificateHolder root, X509CertificateHolder good)
            throws Exception {
        X500Name subject = new X500Name("C=CN,O=Foreign Test CA,CN=Foreign Revoked");
        Date until = Date.from(NOW.plus(Duration.ofDays(30)));
        int use = KeyUsage.digitalSignature | KeyUsage.nonRepudiation;
        X509CertificateHolder revoked = Issue.builder(BigInteger.valueOf(3), until, subject, Issue.keyPair())
            .addExtension(Extension.keyUsage, true, new KeyUsage(use))
            .build(Issue.sm2(ca.getPrivate()));
        Issue.pem(folder.resolve("revoked.pem"), revoked);
        Revocations all = new Revocations(root, good, revoked);

        byte[] crl = all.crl(ca.getPrivate());
        Files.write(folder.resolve("ca.crl"), crl);
        Files.write(folder.resolve("altered.crl"), altered(crl));

        byte[] own = all.answer(root, ca.getPrivate());
        Files.write(folder.resolve("ocsp.der"), own);
        Files.write(folder.resolve("ocsp-altered.der"), altered(own));
        KeyPair key = Issue.keyPair();
        X509CertificateHolder responder =
            Issue.builder(BigInteger.valueOf(4), until, new X500Name("C=CN,CN=Foreign Responder"), key)
                .addExtension(Extension.keyUsage, true, new KeyUsage(KeyUsage.digitalSignature))
                .addExtension(Extension.extendedKeyUsage, false, new ExtendedKeyUsage(KeyPurposeId.id_kp_OCSPSigning))
                .addExtension(OCSPObjectIdentifiers.id_pkix_ocsp_nocheck, false, DERNull.INSTANCE)
                .build(Issue.sm2(ca.getPrivate()));
        Files.write(folder.resolve("ocsp-delegated.der"), all.answer(responder, key.getPrivate(), responder));
        Files.write(folder.resolve("ocsp-stranger.der"), all.answer(root, Issue.keyPair().getPrivate()));
    }

    private byte[] crl(PrivateKey key) throws Exception {
        X509v2CRLBuilder builder = new X509v2CRLBuilder(root.getSubject(), since());
        builder.setNextUpdate(until());
        builder.addCRLEntry(revoked.getSerialNumber(), since(), CRLReason.keyCompromise);
        return builder.build(Issue.sm2(key)).getEncoded();
    }

    private byte[] answer(X509CertificateHolder signer, PrivateKey key, X509CertificateHolder... along) throws Exception {
        DigestCalculatorProvider digests = new JcaDigestCalculatorProviderBuilder().setProvider("BC").build();
        BasicOCSPRespBuilder builder = new BasicOCSPRespBuilder(new RespID(signer.getSubject()));
        CertificateID about = new CertificateID(digests.get(SM3), root, good.getSerialNumber());
        builder.addResponse(about, CertificateStatus.GOOD, since(), until(), null);
        CertificateID other = new CertificateID(digests.get(CertificateID.HASH_SHA1), root, revoked.getSerialNumber());
        builder.addResponse(other, new RevokedStatus(since(), CRLReason.keyCompromise), since(), until(), null);
        Object basic = builder.build(Issue.sm2(key), along, Date.from(NOW));
        return new OCSPRespBuilder().build(OCSPRespBuilder.SUCCESSFUL, basic).getEncoded();
    }

    private static Date since() {
        return Date.from(NOW.minus(Duration.ofHours(1)));
    }

    private static Date until() {
        return Date.from(NOW.plus(Duration.ofDays(20)));
    }

    /** The last octet, which is the signature's. */
    private static byte[] altered(byte[] signed) {
        byte[] copy = signed.clone();
        copy[copy.length - 1] ^= 1;
        return copy;
    }
}
