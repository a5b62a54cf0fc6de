package follower;

import java.util.Map;
import java.util.TreeMap;

/** Puts touched rows and whole tensors into the tensors that they changed. */
final class Delta {
    private static final String ROWS = "#rows";
    private static final String VALUES = "#values";

    private Delta() {}

    static Map<String, Tensor> apply(Map<String, Tensor> current, Map<String, Tensor> changes) throws Refused {
        Map<String, Tensor> result = new TreeMap<>(current);
        for (String name : changes.keySet()) {
            if (name.endsWith(VALUES)) {
                require(changes.containsKey(without(name, VALUES) + ROWS), name + " has no rows");
                continue;
            }
            String target = name.endsWith(ROWS) ? without(name, ROWS) : name;
            Tensor before = current.get(target);
            require(before != null, target + " is not part of the model");
            if (name.endsWith(ROWS)) {
                require(!changes.containsKey(target), target + " comes whole and by rows");
                result.put(target, withRows(before, changes.get(name), changes.get(target + VALUES)));
            } else {
                require(changes.get(name).hasLayoutOf(before), name + " has another layout");
                result.put(name, changes.get(name));
            }
        }
        return result;
    }

    private static Tensor withRows(Tensor before, Tensor rows, Tensor values) throws Refused {
        require(before.axes() > 0 && rows.dtype() == DType.I64 && rows.axes() == 1, "rows");
        require(rows.shape()[0] > 0, "no rows");
        long[] shape = before.shape().clone();
        shape[0] = rows.shape()[0];
        require(values != null && values.is(before.dtype(), shape), "values");
        byte[] data = before.data().clone();
        int rowBytes = (int) (before.shape()[0] == 0 ? 0 : data.length / before.shape()[0]);
        long last = -1;
        for (int index = 0; index < shape[0]; index++) {
            long row = rows.whole(index);
            require(row > last && row < before.shape()[0], "rows must rise within the tensor");
            System.arraycopy(values.data(), index * rowBytes, data, (int) row * rowBytes, rowBytes);
            last = row;
        }
        return new Tensor(before.dtype(), before.shape(), data);
    }

    private static String without(String name, String suffix) {
        return name.substring(0, name.length() - suffix.length());
    }

    private static void require(boolean holds, String what) throws Refused {
        if (!holds) {
            throw new Refused("tensors", what);
        }
    }
}
