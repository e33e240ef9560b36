// Inspect one picture with a folder that `omnial export --format onnx` wrote, without Python:
//
//     dotnet add package Microsoft.ML.OnnxRuntime
//     dotnet add package SixLabors.ImageSharp
//     dotnet run -- line picture.png bracket
//
// The same as inspect.cpp, with the same limits; see there. Unlike that one, it is not compiled in
// omnial's tests.
using System.Text;
using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using SixLabors.ImageSharp;
using SixLabors.ImageSharp.PixelFormats;
using SixLabors.ImageSharp.Processing;

static void Must(bool isTrue, string otherwise)
{
    if (!isTrue) throw new InvalidOperationException(otherwise);
}

try
{
    Must(args.Length == 3, "usage: Inspect EXPORT_DIR PICTURE PRODUCT");
    var (folder, product) = (args[0], args[2]);
    using var config = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "config.json")));
    var settings = config.RootElement.GetProperty("settings");
    var calibration = config.RootElement.GetProperty("calibration");
    Must(calibration.GetProperty("tile").ValueKind == JsonValueKind.Null, "calibrate without --tile");
    Must(calibration.GetProperty("per_class").TryGetProperty(product, out var own),
        "the model does not know PRODUCT");

    // The picture as the network's input: (1, 3, height, width), RGB in [0, 1].
    var data = settings.GetProperty("data");
    int height = data.GetProperty("height").GetInt32(), width = data.GetProperty("width").GetInt32();
    using var picture = Image.Load<Rgb24>(args[1]);
    var geometry = data.GetProperty("geometry").GetString();
    var stretch = (double)picture.Height * width / ((double)picture.Width * height);
    Must(geometry == "squash" || (geometry == "auto" && Math.Max(stretch, 1 / stretch) <= 1.25),
        "the picture would be padded or seen in windows: train with --set data.geometry=squash");
    picture.Mutate(one => one.Resize(width, height, KnownResamplers.Triangle)); // with antialiasing
    var images = new DenseTensor<float>(new[] { 1, 3, height, width });
    for (var y = 0; y < height; y++)
        for (var x = 0; x < width; x++)
        {
            var pixel = picture[x, y];
            (images[0, 0, y, x], images[0, 1, y, x], images[0, 2, y, x]) =
                (pixel.R / 255f, pixel.G / 255f, pixel.B / 255f);
        }

    // Where scores count: the product's region of interest, else everywhere.
    var valid = new DenseTensor<bool>(new[] { 1, height, width });
    valid.Fill(true);
    var arrays = File.ReadAllBytes(Path.Combine(folder, "arrays.safetensors"));
    var length = (int)BitConverter.ToUInt64(arrays, 0); // of the header, in JSON
    using var entries = JsonDocument.Parse(Encoding.UTF8.GetString(arrays, 8, length));
    if (entries.RootElement.TryGetProperty("roi." + product, out var roi))
    {
        var start = 8 + length + roi.GetProperty("data_offsets")[0].GetInt32();
        for (var i = 0; i < height * width; i++) valid.SetValue(i, arrays[start + i] != 0);
    }

    IDisposableReadOnlyCollection<DisposableNamedOnnxValue> Run(
        string file, NamedOnnxValue[] inputs, params string[] outputs)
    {
        using var session = new InferenceSession(Path.Combine(folder, file));
        return session.Run(inputs, outputs);
    }
    var normality = settings.GetProperty("model").GetProperty("normality").GetString() != "none";
    var inputs = new[]
    {
        NamedOnnxValue.CreateFromTensor("images", images),
        NamedOnnxValue.CreateFromTensor("valid", valid),
    };
    var found = Run("model.onnx", inputs, normality ? new[] { "score_map", "embedding" } : new[] { "score" });
    if (normality)
    {
        var classes = config.RootElement.GetProperty("classes").EnumerateArray().ToList();
        var index = new DenseTensor<long>(new long[] { classes.FindIndex(one => one.GetString() == product) }, Array.Empty<int>());
        inputs = new[]
        {
            NamedOnnxValue.CreateFromTensor("network_map", found[0].AsTensor<float>()),
            NamedOnnxValue.CreateFromTensor("embedding", found[1].AsTensor<float>()),
            NamedOnnxValue.CreateFromTensor("valid", valid),
            NamedOnnxValue.CreateFromTensor("product", index),
        };
        found = Run("normality.onnx", inputs, "score");
    }
    double score = found[0].AsTensor<float>().GetValue(0);

    // A product with too few good pictures has the threshold of all products together.
    var isCommon = own.ValueKind == JsonValueKind.Null;
    var threshold = (isCommon ? calibration.GetProperty("pooled") : own).GetDouble();
    var anomalous = score > Math.Min(threshold + 1e-4, (threshold + 1) / 2);
    Console.WriteLine($"{(anomalous ? "ANOMALOUS" : "good")}  score {score:F6}  threshold {threshold:F6}");
    return anomalous ? 1 : 0; // 2: a mistake
}
catch (Exception error)
{
    Console.Error.WriteLine($"Inspect: {error.Message}");
    return 2;
}
