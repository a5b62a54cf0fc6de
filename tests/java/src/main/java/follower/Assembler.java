package follower;

import java.io.ByteArrayOutputStream;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;

/** Turns records, in their order, into updates whose signature and payload are verified. */
final class Assembler {
    /** A complete update, not yet applied. */
    record Update(Manifest manifest, Map<String, Tensor> tensors) {}

    private static final class Pending {
        final UpdateRecord first;
        final Manifest manifest;
        final ByteArrayOutputStream payload = new ByteArrayOutputStream();
        int chunks;

        Pending(UpdateRecord first, Manifest manifest) {
            this.first = first;
            this.manifest = manifest;
        }

        Refused refused(String reason) {
            return new Refused("chunks", reason + " after " + chunks + " of " + manifest.chunks());
        }
    }

    private static final int RECORD_BYTES_MAX = 8 << 20;
    private static final long PAYLOAD_BYTES_MAX = 1 << 30;
    private static final int CHUNKS_MAX = 4_096;
    private static final int PENDING_MAX = 64;
    /** After these an unfinished update cannot be completed. */
    private static final Set<String> BREAKING = Set.of("chunks", "payload", "tensors");

    private final KeyRing keys;
    private final Consumer<Refused> refuse;
    private final Map<String, Pending> pending = new LinkedHashMap<>();

    Assembler(KeyRing keys, Consumer<Refused> refuse) {
        this.keys = keys;
        this.refuse = refuse;
    }

    /** Takes the next record; returns the update that it completes, or null. */
    Update feed(byte[] key, byte[] value) {
        String slot = slotOf(key);
        try {
            return take(slot, key, value);
        } catch (Refused refused) {
            if (BREAKING.contains(refused.check)) {
                pending.remove(slot);
            }
            refuse.accept(refused);
            return null;
        }
    }

    /** Model and kind: of each, one update may be unfinished. */
    private static String slotOf(byte[] key) {
        String[] parts = key == null ? new String[0] : Text.decodeLeniently(key).split("\\|", -1);
        return parts.length == 4 ? parts[0] + "|" + parts[1] : null;
    }

    private Update take(String slot, byte[] key, byte[] value) throws Refused {
        if (slot == null) {
            throw new Refused("record", "the key is not model|kind|version|chunk");
        }
        if (value == null) {
            return null;
        }
        if (value.length > RECORD_BYTES_MAX) {
            throw new Refused("limits", value.length + " bytes");
        }
        UpdateRecord record = UpdateRecord.decode(value);
        Pending update = pendingFor(slot, key, record);
        if (record.chunk() != update.chunks) {
            throw update.refused("chunk " + record.chunk() + " came");
        }
        update.payload.writeBytes(record.tensors());
        update.chunks++;
        if (update.payload.size() > update.manifest.payloadBytes()) {
            throw new Refused("payload", "more bytes than were signed for");
        }
        if (update.chunks < update.manifest.chunks()) {
            return null;
        }
        pending.remove(slot);
        return complete(update);
    }

    private Pending pendingFor(String slot, byte[] key, UpdateRecord record) throws Refused {
        Pending unfinished = pending.get(slot);
        if (unfinished != null && record.chunk() != 0 && record.signedAs(unfinished.first)) {
            checkKey(unfinished.manifest, key, record.chunk());
            return unfinished;
        }
        Pending begun = begin(key, record);
        if (unfinished != null) {
            pending.remove(slot);
            refuse.accept(unfinished.refused("another update began"));
        }
        if (record.chunk() != 0) {
            throw begun.refused("chunk " + record.chunk() + " came first");
        }
        makeRoom();
        pending.put(slot, begun);
        return begun;
    }

    private Pending begin(byte[] key, UpdateRecord record) throws Refused {
        keys.verify(record.manifest(), record.keyId(), record.signature());
        Manifest manifest = Manifest.decode(record.manifest());
        checkKey(manifest, key, record.chunk());
        if (manifest.payloadBytes() > PAYLOAD_BYTES_MAX || manifest.chunks() > CHUNKS_MAX) {
            throw new Refused("limits", manifest.payloadBytes() + " bytes in " + manifest.chunks() + " chunks");
        }
        return new Pending(record, manifest);
    }

    private static void checkKey(Manifest manifest, byte[] key, int chunk) throws Refused {
        if (!Arrays.equals(manifest.key(chunk), key)) {
            throw new Refused("manifest", "came under another key");
        }
    }

    private void makeRoom() {
        if (pending.size() >= PENDING_MAX) {
            Iterator<Pending> oldest = pending.values().iterator();
            refuse.accept(oldest.next().refused("too many other updates began"));
            oldest.remove();
        }
    }

    private static Update complete(Pending update) throws Refused {
        byte[] payload = update.payload.toByteArray();
        String digest = HexFormat.of().formatHex(Digest.sha256().digest(payload));
        if (!digest.equals(update.manifest.payloadDigest())) {
            throw new Refused("payload", "other bytes than were signed for");
        }
        return new Update(update.manifest, TensorFile.read(payload));
    }
}
