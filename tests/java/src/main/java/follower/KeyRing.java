package follower;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.SignatureException;
import java.security.spec.X509EncodedKeySpec;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;

/** Public keys by id. */
final class KeyRing {
    private static final String MANIFEST_TYPE = "application/vnd.rheostat.manifest+avro";
    private static final String SUFFIX = ".pub.pem";

    private final Map<String, PublicKey> keys = new HashMap<>();

    static KeyRing ofFolder(Path folder) throws IOException, GeneralSecurityException {
        KeyRing ring = new KeyRing();
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder, "*" + SUFFIX)) {
            for (Path file : files) {
                String name = file.getFileName().toString();
                ring.add(name.substring(0, name.length() - SUFFIX.length()), Files.readString(file));
            }
        }
        return ring;
    }

    void add(String keyId, String pem) throws GeneralSecurityException {
        String base64 = pem.replaceAll("-----[A-Z ]+-----|\\s", "");
        X509EncodedKeySpec spec = new X509EncodedKeySpec(Base64.getDecoder().decode(base64));
        keys.put(keyId, KeyFactory.getInstance("Ed25519").generatePublic(spec));
    }

    void verify(byte[] manifest, String keyId, byte[] signature) throws Refused {
        PublicKey key = keys.get(keyId);
        if (key == null) {
            throw new Refused("signature", "unknown key " + keyId);
        }
        if (!isSigned(manifest, key, signature)) {
            throw new Refused("signature", "not that of key " + keyId);
        }
    }

    /** What is signed: DSSE's pre-authentication encoding. */
    static byte[] preAuthenticationEncoding(byte[] manifest) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        String head = "DSSEv1 " + MANIFEST_TYPE.length() + " " + MANIFEST_TYPE + " " + manifest.length + " ";
        out.writeBytes(Text.encode(head));
        out.writeBytes(manifest);
        return out.toByteArray();
    }

    private static boolean isSigned(byte[] manifest, PublicKey key, byte[] signature) {
        try {
            Signature verifier = Signature.getInstance("Ed25519");
            verifier.initVerify(key);
            verifier.update(preAuthenticationEncoding(manifest));
            return verifier.verify(signature);
        } catch (SignatureException error) {
            return false; // Not even of a signature's length.
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }
}
