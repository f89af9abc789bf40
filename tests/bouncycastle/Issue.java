import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.Security;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.bouncycastle.asn1.ASN1Encodable;
import org.bouncycastle.asn1.ASN1EncodableVector;
import org.bouncycastle.asn1.ASN1Integer;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.ASN1Sequence;
import org.bouncycastle.asn1.ASN1Set;
import org.bouncycastle.asn1.ASN1TaggedObject;
import org.bouncycastle.asn1.DERSequence;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.asn1.DERTaggedObject;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.asn1.cms.CMSAttributes;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.BasicConstraints;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.KeyUsage;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.X509v3CertificateBuilder;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.CMSSignedDataGenerator;
import org.bouncycastle.cms.DefaultSignedAttributeTableGenerator;
import org.bouncycastle.cms.jcajce.JcaSignerInfoGeneratorBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;
import org.bouncycastle.util.CollectionStore;

/**
 * A foreign signer: {@code Issue FOLDER CONTENT} makes an SM2 test CA and writes into FOLDER what such a CA's
 * customers would hand to the gateway.
 *
 * <ul>
 *   <li>{@code ca.pem, signer.pem, raw.sig}: root, signing certificate, DER SM2 signature over CONTENT
 *   <li>{@code cms-FAMILY-FORM.der}: FAMILY rfc5652 or gbt35275, FORM attached or detached
 *   <li>{@code license-KIND.der}: KIND good, expired, altered or wrong-uscc
 *   <li>word of revocations, see {@link Revocations}
 * </ul>
 */
public final class Issue {
    private static final ASN1ObjectIdentifier SM2_SIGN = new ASN1ObjectIdentifier("1.2.156.10197.1.301.1");
    private static final ASN1ObjectIdentifier GM_DATA = new ASN1ObjectIdentifier("1.2.156.10197.6.1.4.2.1");
    private static final ASN1ObjectIdentifier GM_SIGNED_DATA = new ASN1ObjectIdentifier("1.2.156.10197.6.1.4.2.2");
    private static final String FACE = "0.6.3.1040.";
    private static final X500Name CA = new X500Name("C=CN,O=Foreign Test CA");
    private static final Instant NOW = Instant.now();

    public static void main(String[] arguments) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        Path folder = Path.of(arguments[0]);
        byte[] content = Files.readAllBytes(Path.of(arguments[1]));

        KeyPair ca = keyPair();
        KeyPair signer = keyPair();
        X509CertificateHolder root = root(ca);
        X509CertificateHolder certificate = signer(ca.getPrivate(), signer);
        pem(folder.resolve("ca.pem"), root);
        pem(folder.resolve("signer.pem"), certificate);
        Revocations.write(folder, ca, root, certificate);

        Signature raw = Signature.getInstance("SM3withSM2", "BC");
        raw.initSign(signer.getPrivate());
        raw.update(content);
        Files.write(folder.resolve("raw.sig"), raw.sign());

        List<X509CertificateHolder> chain = List.of(certificate, root);
        for (boolean attached : new boolean[] {true, false}) {
            String form = attached ? "attached" : "detached";
            CMSSignedData rfc = cms(null, content, attached, signer.getPrivate(), chain);
            Files.write(folder.resolve("cms-rfc5652-" + form + ".der"), rfc.toASN1Structure().getEncoded("DER"));
            CMSSignedData gm = cms(GM_DATA, content, attached, signer.getPrivate(), chain);
            Files.write(folder.resolve("cms-gbt35275-" + form + ".der"), national(gm).getEncoded("DER"));
        }

        Date soon = Date.from(NOW.plus(Duration.ofDays(30)));
        Date past = Date.from(NOW.minus(Duration.ofDays(2)));
        byte[] good = license(ca.getPrivate(), "91350100M000100Y43", soon);
        Files.write(folder.resolve("license-good.der"), good);
        Files.write(folder.resolve("license-expired.der"), license(ca.getPrivate(), "91350100M000100Y43", past));
        Files.write(folder.resolve("license-wrong-uscc.der"), license(ca.getPrivate(), "914403001922038217", soon));
        Files.write(folder.resolve("license-altered.der"), altered(good));
    }

    static KeyPair keyPair() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", "BC");
        generator.initialize(new ECGenParameterSpec("sm2p256v1"));
        return generator.generateKeyPair();
    }

    static ContentSigner sm2(PrivateKey key) throws Exception {
        return new JcaContentSignerBuilder("SM3withSM2").setProvider("BC").build(key);
    }

    static X509v3CertificateBuilder builder(BigInteger serial, Date until, X500Name subject, KeyPair key) {
        Date since = Date.from(NOW.minus(Duration.ofDays(10)));
        SubjectPublicKeyInfo info = SubjectPublicKeyInfo.getInstance(key.getPublic().getEncoded());
        return new X509v3CertificateBuilder(CA, serial, since, until, subject, info);
    }

    private static X509CertificateHolder root(KeyPair key) throws Exception {
        return builder(BigInteger.ONE, Date.from(NOW.plus(Duration.ofDays(60))), CA, key)
            .addExtension(Extension.basicConstraints, true, new BasicConstraints(true))
            .addExtension(Extension.keyUsage, true, new KeyUsage(KeyUsage.keyCertSign | KeyUsage.cRLSign))
            .build(sm2(key.getPrivate()));
    }

    private static X509CertificateHolder signer(PrivateKey ca, KeyPair key) throws Exception {
        X500Name subject = new X500Name("C=CN,O=Foreign Test CA,CN=Foreign Signer");
        return builder(BigInteger.TWO, Date.from(NOW.plus(Duration.ofDays(30))), subject, key)
            .addExtension(Extension.keyUsage, true, new KeyUsage(KeyUsage.digitalSignature | KeyUsage.nonRepudiation))
            .build(sm2(ca));
    }

    private static CMSSignedData cms(ASN1ObjectIdentifier type, byte[] content, boolean attached, PrivateKey key,
            List<X509CertificateHolder> chain) throws Exception {
        JcaSignerInfoGeneratorBuilder signer = new JcaSignerInfoGeneratorBuilder(
            new JcaDigestCalculatorProviderBuilder().setProvider("BC").build());
        if (type != null) {
            // The attribute repeats the signature algorithm, which national() writes in the other family's words.
            signer.setSignedAttributeGenerator(new DefaultSignedAttributeTableGenerator() {
                @Override
                public AttributeTable getAttributes(Map parameters) {
                    return super.getAttributes(parameters).remove(CMSAttributes.cmsAlgorithmProtect);
                }
            });
        }
        CMSSignedDataGenerator generator = new CMSSignedDataGenerator();
        generator.addSignerInfoGenerator(signer.build(sm2(key), chain.get(0)));
        generator.addCertificates(new CollectionStore<>(chain));
        CMSProcessableByteArray typed = type == null
            ? new CMSProcessableByteArray(content) : new CMSProcessableByteArray(type, content);
        return generator.generate(typed, attached);
    }

    /** The same signature in the shape of GB/T 35275: its content types, version 1, its name for SM2 signing. */
    private static ASN1Sequence national(CMSSignedData signed) {
        ASN1Sequence data = ASN1Sequence.getInstance(signed.toASN1Structure().getContent().toASN1Primitive());
        ASN1EncodableVector fields = new ASN1EncodableVector();
        fields.add(new ASN1Integer(1));
        for (int i = 1; i < data.size() - 1; i++) {
            fields.add(data.getObjectAt(i));
        }
        ASN1Set signers = ASN1Set.getInstance(data.getObjectAt(data.size() - 1));
        fields.add(new DERSet(named(ASN1Sequence.getInstance(signers.getObjectAt(0)))));
        return new DERSequence(new ASN1Encodable[] {
            GM_SIGNED_DATA, new DERTaggedObject(true, 0, new DERSequence(fields)),
        });
    }

    private static ASN1Sequence named(ASN1Sequence signerInfo) {
        ASN1Encodable[] fields = signerInfo.toArray();
        // version, sid, digestAlgorithm, [0] attributes, signatureAlgorithm, signature
        if (!(fields[3] instanceof ASN1TaggedObject)) {
            throw new IllegalStateException("no signed attributes");
        }
        fields[4] = new AlgorithmIdentifier(SM2_SIGN);
        return new DERSequence(fields);
    }

    /** A license as the bureau's CA writes it: face in 0.6.3.1040.N as bare UTF-8, serial of 32 decimal digits. */
    private static byte[] license(PrivateKey ca, String uscc, Date until) throws Exception {
        X500Name subject = new X500Name("C=CN,O=外来测试有限公司,CN=外来测试有限公司");
        BigInteger serial = new BigInteger("35010020260102030405000000000007", 16);
        X509v3CertificateBuilder builder = builder(serial, until, subject, keyPair());
        Map<Integer, String> face = new TreeMap<>(Map.of(13, uscc, 18, "外来测试有限公司", 19, "电子营业执照", 20, "测试人",
            29, "福建省福州市测试路1号", 33, "2020年02月02日", 38, "长期", 46, "V2.0", 90, "A", 93, "350100"));
        for (Map.Entry<Integer, String> field : face.entrySet()) {
            byte[] value = field.getValue().getBytes(StandardCharsets.UTF_8);
            builder.addExtension(new Extension(new ASN1ObjectIdentifier(FACE + field.getKey()), false, value));
        }
        return builder.build(sm2(ca)).getEncoded();
    }

    /** Another house number, the old signature. */
    private static byte[] altered(byte[] license) {
        byte[] from = "测试路1号".getBytes(StandardCharsets.UTF_8);
        byte[] copy = license.clone();
        List<Integer> places = new ArrayList<>();
        for (int at = 0; at + from.length <= copy.length; at++) {
            if (java.util.Arrays.equals(from, 0, from.length, copy, at, at + from.length)) {
                places.add(at);
            }
        }
        if (places.size() != 1) {
            throw new IllegalStateException("address not found once");
        }
        int digit = places.get(0) + "测试路".getBytes(StandardCharsets.UTF_8).length;
        copy[digit] = '2';
        return copy;
    }

    static void pem(Path file, X509CertificateHolder certificate) throws Exception {
        String body = java.util.Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(certificate.getEncoded());
        Files.writeString(file, "-----BEGIN CERTIFICATE-----\n" + body + "\n-----END CERTIFICATE-----\n");
    }
}
