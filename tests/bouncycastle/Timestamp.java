import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Security;
import java.security.cert.X509Certificate;
import java.util.Collection;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.tsp.TimeStampRequest;
import org.bouncycastle.tsp.TimeStampResponse;
import org.bouncycastle.tsp.TimeStampToken;

/**
 * A second opinion on the gateway's timestamps: {@code Timestamp TRUST.pem REQUEST.tsq RESPONSE.tsr}.
 *
 * <p>Prints {@code valid FAMILY ALGORITHM SERIAL TIME} and ends with 0, or {@code invalid REASON} and 1.
 */
public final class Timestamp {
    public static void main(String[] arguments) {
        Security.addProvider(new BouncyCastleProvider());
        try {
            Collection<X509Certificate> anchors = Verify.certificates(arguments[0]);
            TimeStampRequest request = new TimeStampRequest(Files.readAllBytes(Path.of(arguments[1])));
            TimeStampResponse response = new TimeStampResponse(Files.readAllBytes(Path.of(arguments[2])));
            response.validate(request);
            TimeStampToken token = response.getTimeStampToken();
            if (token == null) {
                throw new Exception("no token: " + response.getStatusString());
            }
            @SuppressWarnings("unchecked")
            Collection<X509CertificateHolder> match = token.getCertificates().getMatches(token.getSID());
            if (match.size() != 1) {
                throw new Exception(match.size() + " certificates for the signer");
            }
            X509CertificateHolder certificate = match.iterator().next();
            Verify.path(certificate, token.getCertificates(), anchors);
            // The signature, the extended key usage, and that the signed attribute names this certificate.
            token.validate(Verify.verifier(certificate));
            System.out.println("valid " + token.toCMSSignedData().toASN1Structure().getContentType() + " "
                + token.toCMSSignedData().getSignerInfos().getSigners().iterator().next().getEncryptionAlgOID() + " "
                + token.getTimeStampInfo().getSerialNumber().toString(16) + " " + token.getTimeStampInfo().getGenTime());
        } catch (Exception refused) {
            System.out.println("invalid " + refused);
            System.exit(1);
        }
    }
}
