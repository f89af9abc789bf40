import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.SecureRandom;
import java.security.Signature;
import java.util.Arrays;
import java.util.Base64;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.jcajce.spec.SM2ParameterSpec;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.openssl.jcajce.JcaPEMKeyConverter;
import org.bouncycastle.util.encoders.Hex;

/**
 * Calls the gateway with a signed request, in Java 8 with BouncyCastle (bcprov, bcpkix, bcutil).
 *
 * <pre>java SignedRequest APP KEY.pem sm2|p256 METHOD URL [BODY-FILE]</pre>
 *
 * KEY.pem is the private key (PKCS #8) whose public half the gateway has as a credential of APP.
 */
public final class SignedRequest {
    private static final BouncyCastleProvider BC = new BouncyCastleProvider();

    public static void main(String[] arguments) throws Exception {
        String app = arguments[0];
        String method = arguments[3];
        URL url = new URL(arguments[4]);
        byte[] body = arguments.length > 5 ? Files.readAllBytes(Paths.get(arguments[5])) : new byte[0];

        String timestamp = String.valueOf(System.currentTimeMillis() / 1000);
        byte[] random = new byte[16];
        new SecureRandom().nextBytes(random);
        String nonce = Hex.toHexString(random);
        String text = canonical(method, url.getFile(), app, timestamp, nonce, body);
        byte[] signature = sign(key(arguments[1]), arguments[2], text.getBytes(StandardCharsets.UTF_8));

        HttpURLConnection connection = (HttpURLConnection) url.openConnection();
        connection.setRequestMethod(method);
        connection.setRequestProperty("x-app-id", app);
        connection.setRequestProperty("x-timestamp", timestamp);
        connection.setRequestProperty("x-nonce", nonce);
        connection.setRequestProperty("x-signature", Base64.getEncoder().encodeToString(signature));
        if (body.length > 0) {
            connection.setRequestProperty("content-type", "application/json");
            connection.setDoOutput(true);
            connection.getOutputStream().write(body);
        }
        int status = connection.getResponseCode();
        InputStream answer = status < 400 ? connection.getInputStream() : connection.getErrorStream();
        System.out.println(new String(read(answer), StandardCharsets.UTF_8));
        System.exit(status < 400 ? 0 : 1);
    }

    /** The text that is signed; {@code target} is path and query as they are sent. */
    static String canonical(
            String method, String target, String app, String timestamp, String nonce, byte[] body) throws Exception {
        int mark = target.indexOf('?');
        String path = mark < 0 ? target : target.substring(0, mark);
        String[] query = (mark < 0 ? "" : target.substring(mark + 1)).split("&", -1);
        Arrays.sort(query); // a target is ASCII: the order of its characters is that of its octets
        String digest = Hex.toHexString(MessageDigest.getInstance("SM3", BC).digest(body));
        return String.join("\n", method, path, String.join("&", query), app, timestamp, nonce, digest);
    }

    private static byte[] sign(PrivateKey key, String kind, byte[] text) throws Exception {
        Signature signer = Signature.getInstance(kind.equals("sm2") ? "SM3withSM2" : "SHA256withECDSA", BC);
        if (kind.equals("sm2")) {
            signer.setParameter(new SM2ParameterSpec("1234567812345678".getBytes(StandardCharsets.US_ASCII)));
        }
        signer.initSign(key);
        signer.update(text);
        return signer.sign();
    }

    private static PrivateKey key(String file) throws Exception {
        try (Reader reader = new InputStreamReader(Files.newInputStream(Paths.get(file)), StandardCharsets.US_ASCII);
                PEMParser parser = new PEMParser(reader)) {
            return new JcaPEMKeyConverter().setProvider(BC).getPrivateKey((PrivateKeyInfo) parser.readObject());
        }
    }

    private static byte[] read(InputStream stream) throws Exception {
        ByteArrayOutputStream octets = new ByteArrayOutputStream();
        byte[] buffer = new byte[8192];
        for (int length = stream.read(buffer); length >= 0; length = stream.read(buffer)) {
            octets.write(buffer, 0, length);
        }
        return octets.toByteArray();
    }
}
