package follower;

import java.util.List;
import java.util.Map;

/** Scores with a model's tensors, so that its golden probes can be checked. */
abstract class Scorer {
    private static final double INPUT_MAX = 1e100;

    final Manifest.Inputs inputs;
    private final Map<String, Tensor> tensors;

    private Scorer(Manifest.Inputs inputs, Map<String, Tensor> tensors) {
        this.inputs = inputs;
        this.tensors = tensors;
    }

    /** What scores with a learner's tensors; refused where they are not such a learner's. */
    static Scorer of(Manifest.Inputs inputs, Map<String, Tensor> tensors) throws Refused {
        return switch (inputs.learner()) {
            case "linear/1" -> new Linear(inputs, tensors);
            case "hashed-mlp/1" -> new HashedMlp(inputs, tensors);
            default -> throw new Refused("tensors", "unknown learner " + inputs.learner());
        };
    }

    double score(List<Double> numeric, List<String> categorical) {
        return 1 / (1 + Math.exp(-logit(numeric, categorical)));
    }

    abstract double logit(List<Double> numeric, List<String> categorical);

    /** The hash of a category; 0 for a missing one. */
    static long hash(String feature, String value) {
        if (value.isEmpty()) {
            return 0;
        }
        String name = feature.endsWith("#2") ? feature.substring(0, feature.length() - 2) : feature;
        long hash = Blake2b.hash64(Text.encode(name + "=" + value));
        return hash == 0 ? 1 : hash;
    }

    long hash(int feature, List<String> categorical) {
        return hash(inputs.categorical().get(feature), categorical.get(feature));
    }

    Tensor take(String name, DType dtype, long... shape) throws Refused {
        Tensor tensor = tensors.get(name);
        if (tensor == null || !tensor.is(dtype, shape)) {
            throw new Refused("tensors", name);
        }
        return tensor;
    }

    /** The shape of a tensor that must have so many axes. */
    long[] shape(String name, int axes) throws Refused {
        Tensor tensor = tensors.get(name);
        if (tensor == null || tensor.axes() != axes) {
            throw new Refused("tensors", name);
        }
        return tensor.shape();
    }

    /** How inputs are scaled. */
    private record Scale(Tensor mean, Tensor factor, Tensor options) {
        static Scale of(Scorer scorer, int columns) throws Refused {
            return new Scale(
                    scorer.take("scale.mean", DType.F64, columns),
                    scorer.take("scale.factor", DType.F64, columns),
                    scorer.take("scale.options", DType.F64, 2));
        }

        double apply(int column, double input) {
            boolean signedLog = options.number(0) != 0;
            double shaped = signedLog
                    ? Math.copySign(Math.log1p(Math.abs(input)), input)
                    : Math.min(Math.max(input, -INPUT_MAX), INPUT_MAX);
            double standardised = (shaped - mean.number(column)) * factor.number(column);
            return Math.max(Math.min(standardised, options.number(1)), -options.number(1));
        }
    }

    private static final class Linear extends Scorer {
        private final int bins;
        private final Tensor weights;
        private final Tensor intercept;
        private final Scale scale;

        Linear(Manifest.Inputs inputs, Map<String, Tensor> tensors) throws Refused {
            super(inputs, tensors);
            long told = take("bins", DType.U64, 1).whole(0);
            if (told < 1 || told > 65_536) {
                throw new Refused("tensors", "bins");
            }
            bins = (int) told;
            int columns = inputs.numeric().size() + bins * inputs.categorical().size();
            weights = take("weights", DType.F64, columns);
            intercept = take("intercept", DType.F64, 1);
            scale = Scale.of(this, columns);
        }

        @Override
        double logit(List<Double> numeric, List<String> categorical) {
            double[] row = new double[weights.data().length / 8];
            for (int column = 0; column < numeric.size(); column++) {
                row[column] = numeric.get(column);
            }
            for (int feature = 0; feature < categorical.size(); feature++) {
                long hash = hash(feature, categorical);
                if (hash != 0) {
                    row[numeric.size() + feature * bins + (int) Long.remainderUnsigned(hash, bins)] = 1;
                }
            }
            double sum = intercept.number(0);
            for (int column = 0; column < row.length; column++) {
                sum += weights.number(column) * scale.apply(column, row[column]);
            }
            return sum;
        }
    }

    private static final class HashedMlp extends Scorer {
        private final int rows;
        private final int width;
        private final int units;
        private final Tensor table;
        private final Tensor hiddenWeight;
        private final Tensor hiddenBias;
        private final Tensor outputWeight;
        private final Tensor outputBias;
        private final Scale scale;

        HashedMlp(Manifest.Inputs inputs, Map<String, Tensor> tensors) throws Refused {
            super(inputs, tensors);
            long[] shape = shape("table", 2);
            rows = (int) shape[0];
            width = (int) shape[1];
            units = (int) shape("hidden.bias", 1)[0];
            if (Long.bitCount(rows) != 1) {
                throw new Refused("tensors", "the table's rows are no power of two");
            }
            int columns = inputs.numeric().size() + inputs.categorical().size() * width;
            table = take("table", DType.F32, shape);
            hiddenWeight = take("hidden.weight", DType.F32, columns, units);
            hiddenBias = take("hidden.bias", DType.F32, units);
            outputWeight = take("output.weight", DType.F32, units);
            outputBias = take("output.bias", DType.F32, 1);
            scale = Scale.of(this, inputs.numeric().size());
        }

        @Override
        double logit(List<Double> numeric, List<String> categorical) {
            double[] row = new double[numeric.size() + categorical.size() * width];
            for (int column = 0; column < numeric.size(); column++) {
                row[column] = (float) scale.apply(column, numeric.get(column));
            }
            for (int feature = 0; feature < categorical.size(); feature++) {
                long hash = hash(feature, categorical);
                for (int place = 0; hash != 0 && place < width; place++) {
                    int element = (int) (hash & (rows - 1)) * width + place;
                    row[numeric.size() + feature * width + place] = table.number(element);
                }
            }
            double sum = outputBias.number(0);
            for (int unit = 0; unit < units; unit++) {
                double hidden = hiddenBias.number(unit);
                for (int column = 0; column < row.length; column++) {
                    hidden += row[column] * hiddenWeight.number(column * units + unit);
                }
                sum += Math.max(hidden, 0) * outputWeight.number(unit);
            }
            return sum;
        }
    }
}
