import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.Security;
import java.security.Signature;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.Arrays;
import org.bouncycastle.asn1.ASN1BitString;
import org.bouncycastle.asn1.ASN1Encodable;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.ASN1OctetString;
import org.bouncycastle.asn1.ASN1Primitive;
import org.bouncycastle.asn1.ASN1Sequence;
import org.bouncycastle.asn1.DERBitString;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

/**
 * A second opinion on seal signatures of GB/T 38540, version 4: {@code Seals SIGNATURE.der CONTENT}.
 *
 * <p>Checks the signer's signature, the seal maker's signature within and the digest of the content. Prints
 * {@code valid NAME-OF-THE-SEAL} and ends with 0, or {@code invalid REASON} and 1.
 */
public final class Seals {
    private static final ASN1ObjectIdentifier SM2_WITH_SM3 = new ASN1ObjectIdentifier("1.2.156.10197.1.501");

    public static void main(String[] arguments) {
        Security.addProvider(new BouncyCastleProvider());
        try {
            byte[] octets = Files.readAllBytes(Path.of(arguments[0]));
            byte[] content = Files.readAllBytes(Path.of(arguments[1]));
            ASN1Sequence signature = ASN1Sequence.getInstance(ASN1Primitive.fromByteArray(octets));
            ASN1Sequence toSign = ASN1Sequence.getInstance(signature.getObjectAt(0));
            check("the signer's signature", toSign, signature);
            ASN1Sequence seal = ASN1Sequence.getInstance(toSign.getObjectAt(1));
            ASN1Sequence info = ASN1Sequence.getInstance(seal.getObjectAt(0));
            check("the maker's signature", info, seal);
            byte[] digest = MessageDigest.getInstance("SM3", "BC").digest(content);
            if (!Arrays.equals(digest, DERBitString.getInstance(toSign.getObjectAt(3)).getOctets())) {
                throw new Exception("the digest differs");
            }
            ASN1Sequence property = ASN1Sequence.getInstance(info.getObjectAt(2));
            System.out.println("valid " + property.getObjectAt(1));
        } catch (Exception refused) {
            System.out.println("invalid " + refused);
            System.exit(1);
        }
    }

    /** {@code whole}: what is signed, the certificate, the algorithm, the signature value. */
    private static void check(String what, ASN1Encodable signed, ASN1Sequence whole) throws Exception {
        byte[] certificate = ASN1OctetString.getInstance(whole.getObjectAt(1)).getOctets();
        if (!SM2_WITH_SM3.equals(whole.getObjectAt(2))) {
            throw new Exception(what + " has the algorithm " + whole.getObjectAt(2));
        }
        X509Certificate signer = (X509Certificate) CertificateFactory.getInstance("X.509", "BC")
            .generateCertificate(new java.io.ByteArrayInputStream(certificate));
        Signature verifier = Signature.getInstance("SM3withSM2", "BC");
        verifier.initVerify(signer.getPublicKey());
        verifier.update(signed.toASN1Primitive().getEncoded("DER"));
        ASN1BitString value = DERBitString.getInstance(whole.getObjectAt(3));
        if (!verifier.verify(value.getOctets())) {
            throw new Exception(what + " does not verify");
        }
    }
}
