import java.io.FileInputStream;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Security;
import java.security.cert.CertPathBuilder;
import java.security.cert.CertStore;
import java.security.cert.CertificateFactory;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXBuilderParameters;
import java.security.cert.TrustAnchor;
import java.security.cert.X509CertSelector;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.DefaultCMSSignatureAlgorithmNameGenerator;
import org.bouncycastle.cms.SignerInformation;
import org.bouncycastle.cms.SignerInformationVerifier;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.DefaultSignatureAlgorithmIdentifierFinder;
import org.bouncycastle.operator.jcajce.JcaContentVerifierProviderBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;
import org.bouncycastle.util.Store;

/**
 * A second opinion on the gateway's CMS: {@code Verify TRUST.pem CMS.der [CONTENT]}.
 *
 * <p>Prints {@code valid FAMILY ALGORITHM CONTENT-LENGTH SUBJECT} and ends with 0, or {@code invalid REASON} and 1.
 * FAMILY is the object identifier of the outer content type, so that a caller can tell RFC 5652 from GB/T 35275.
 */
public final class Verify {
    /** GB/T 35275 writes "SM2 signing" where RFC 5652 writes "SM2 with SM3". */
    private static final ASN1ObjectIdentifier SM2_SIGN = new ASN1ObjectIdentifier("1.2.156.10197.1.301.1");

    public static void main(String[] arguments) {
        Security.addProvider(new BouncyCastleProvider());
        try {
            Collection<X509Certificate> anchors = certificates(arguments[0]);
            byte[] cms = Files.readAllBytes(Path.of(arguments[1]));
            CMSSignedData signed = arguments.length > 2
                ? new CMSSignedData(new CMSProcessableByteArray(Files.readAllBytes(Path.of(arguments[2]))), cms)
                : new CMSSignedData(cms);
            System.out.println("valid " + verify(signed, anchors));
        } catch (Exception refused) {
            System.out.println("invalid " + refused);
            System.exit(1);
        }
    }

    private static String verify(CMSSignedData signed, Collection<X509Certificate> anchors) throws Exception {
        Collection<SignerInformation> signers = signed.getSignerInfos().getSigners();
        if (signers.size() != 1) {
            throw new Exception(signers.size() + " signers");
        }
        SignerInformation signer = signers.iterator().next();
        Store<X509CertificateHolder> carried = signed.getCertificates();
        @SuppressWarnings("unchecked")
        Collection<X509CertificateHolder> match = carried.getMatches(signer.getSID());
        if (match.size() != 1) {
            throw new Exception(match.size() + " certificates for the signer");
        }
        X509CertificateHolder certificate = match.iterator().next();
        path(certificate, carried, anchors);
        if (!signer.verify(verifier(certificate))) {
            throw new Exception("signature does not verify");
        }
        if (signer.getSignedAttributes() == null) {
            throw new Exception("no signed attributes");
        }
        Object content = signed.getSignedContent() == null ? null : signed.getSignedContent().getContent();
        int length = content instanceof byte[] ? ((byte[]) content).length : -1;
        return signed.toASN1Structure().getContentType() + " " + signer.getEncryptionAlgOID() + " " + length + " "
            + certificate.getSubject();
    }

    static SignerInformationVerifier verifier(X509CertificateHolder certificate) throws Exception {
        DefaultCMSSignatureAlgorithmNameGenerator names = new DefaultCMSSignatureAlgorithmNameGenerator() {
            { setSigningEncryptionAlgorithmMapping(SM2_SIGN, "SM2"); }
        };
        return new SignerInformationVerifier(names, new DefaultSignatureAlgorithmIdentifierFinder(),
            new JcaContentVerifierProviderBuilder().setProvider("BC").build(certificate),
            new JcaDigestCalculatorProviderBuilder().setProvider("BC").build());
    }

    /** PKIX path from the signer through the carried certificates to one of the anchors, as of now. */
    static void path(X509CertificateHolder signer, Store<X509CertificateHolder> carried,
            Collection<X509Certificate> anchors) throws Exception {
        JcaX509CertificateConverter converter = new JcaX509CertificateConverter().setProvider("BC");
        List<X509Certificate> pool = new ArrayList<>();
        for (X509CertificateHolder one : carried.getMatches(null)) {
            pool.add(converter.getCertificate(one));
        }
        X509CertSelector target = new X509CertSelector();
        target.setCertificate(converter.getCertificate(signer));
        Set<TrustAnchor> trusted = new HashSet<>();
        for (X509Certificate anchor : anchors) {
            trusted.add(new TrustAnchor(anchor, null));
        }
        PKIXBuilderParameters parameters = new PKIXBuilderParameters(trusted, target);
        parameters.setRevocationEnabled(false);
        parameters.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(pool), "BC"));
        CertPathBuilder.getInstance("PKIX", "BC").build(parameters);
    }

    @SuppressWarnings("unchecked")
    static Collection<X509Certificate> certificates(String file) throws Exception {
        try (InputStream input = new FileInputStream(file)) {
            return (Collection<X509Certificate>) CertificateFactory.getInstance("X.509", "BC").generateCertificates(input);
        }
    }
}
