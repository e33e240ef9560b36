// Inspect one picture with a folder that `omnial export --format onnx` wrote, without Python:
//
//     c++ -std=c++17 -O2 inspect.cpp -o inspect -lonnxruntime
//     ./inspect line picture.png bracket
//
// Needs ONNX Runtime 1.21 or newer, and the headers nlohmann/json.hpp and stb_image.h (Debian:
// nlohmann-json3-dev, libstb-dev). It prints what Python decides, and refuses what it does not do.
// Pictures: PNG, JPEG or BMP of 8 bits, not rotated by EXIF.
#include <onnxruntime_cxx_api.h>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#define STB_IMAGE_IMPLEMENTATION
#include "stb_image.h"

using Pixels = std::vector<float>;  // RGB, 0 to 255

void must(bool true_, const char* otherwise) { if (!true_) throw std::runtime_error(otherwise); }

// Resize the columns, bilinearly with antialiasing as in training, and exchange rows and columns.
Pixels resize(const Pixels& in, int rows, int from, int to) {
    const double scale = double(from) / to, reach = std::max(scale, 1.0);
    Pixels out(size_t(to) * rows * 3);
    for (int x = 0; x < to; ++x) {
        const double middle = (x + 0.5) * scale;
        const int first = std::max(0, int(middle - reach + 0.5));
        const int end = std::min(from, int(middle + reach + 0.5));
        for (int y = 0; y < rows; ++y)
            for (int c = 0; c < 3; ++c) {
                double sum = 0, weights = 0;
                for (int i = first; i < end; ++i) {
                    const double weight = std::max(0.0, 1 - std::abs((i + 0.5 - middle) / reach));
                    sum += weight * in[(size_t(y) * from + i) * 3 + c];
                    weights += weight;
                }
                out[(size_t(x) * rows + y) * 3 + c] = std::floor(sum / weights + 0.5);
            }
    }
    return out;
}

int main(int argc, char** argv) try {
    must(argc == 4, "usage: inspect EXPORT_DIR PICTURE PRODUCT");
    const std::string folder = argv[1], product = argv[3];
    std::ifstream config_file(folder + "/config.json");
    must(bool(config_file), "EXPORT_DIR has no config.json");
    const auto config = nlohmann::json::parse(config_file);
    const auto &settings = config.at("settings"), &calibration = config.at("calibration");
    must(calibration.at("tile").is_null(), "calibrate without --tile");
    must(calibration.at("per_class").contains(product), "the model does not know PRODUCT");

    // The picture as the network's input: (1, 3, height, width), RGB in [0, 1].
    int across, down, channels;
    unsigned char* bytes = stbi_load(argv[2], &across, &down, &channels, 3);
    must(bytes != nullptr, "PICTURE cannot be read");
    const int height = settings.at("data").at("height"), width = settings.at("data").at("width");
    const std::string geometry = settings.at("data").at("geometry");
    const double stretch = double(down) * width / (double(across) * height);
    must(geometry == "squash" || (geometry == "auto" && std::max(stretch, 1 / stretch) <= 1.25),
         "the picture would be padded or seen in windows: train with --set data.geometry=squash");
    const Pixels source(bytes, bytes + size_t(across) * down * 3);
    const Pixels small = resize(resize(source, down, across, width), width, down, height);
    const size_t area = size_t(height) * width;
    std::vector<float> images(3 * area);
    for (size_t i = 0; i < images.size(); ++i) images[i] = small[i % area * 3 + i / area] / 255;

    // Where scores count: the product's region of interest, else everywhere.
    std::vector<char> valid(area, 1);
    std::ifstream arrays(folder + "/arrays.safetensors", std::ios::binary);
    uint64_t length = 0;  // of the header, in JSON; numbers are little-endian
    arrays.read(reinterpret_cast<char*>(&length), 8);
    must(bool(arrays) && length < (1 << 24), "arrays.safetensors cannot be read");
    std::string header(length, ' ');
    arrays.read(header.data(), length);
    const auto entries = nlohmann::json::parse(header);
    if (const auto roi = entries.find("roi." + product); roi != entries.end()) {
        arrays.seekg(8 + length + roi->at("data_offsets").at(0).get<uint64_t>());
        must(bool(arrays.read(valid.data(), area)), "arrays.safetensors is cut short");
    }

    Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "omnial");
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto run = [&](const char* file, const std::vector<const char*>& inputs,
                         const std::vector<Ort::Value>& values,
                         const std::vector<const char*>& outputs) {
        const std::string path = folder + "/" + file;  // on Windows a std::wstring
        Ort::Session session(env, path.c_str(), Ort::SessionOptions());
        return session.Run(Ort::RunOptions(), inputs.data(), values.data(), values.size(),
                           outputs.data(), outputs.size());
    };
    const int64_t four[] = {1, 3, height, width}, three[] = {1, height, width};
    std::vector<Ort::Value> values;
    values.push_back(Ort::Value::CreateTensor<float>(memory, images.data(), images.size(), four, 4));
    values.push_back(Ort::Value::CreateTensor<bool>(
        memory, reinterpret_cast<bool*>(valid.data()), area, three, 3));
    const bool normality = settings.at("model").at("normality") != "none";
    std::vector<const char*> wanted = {"score"};
    if (normality) wanted = {"score_map", "embedding"};
    auto found = run("model.onnx", {"images", "valid"}, values, wanted);
    if (normality) {
        const auto& classes = config.at("classes");
        int64_t index = std::find(classes.begin(), classes.end(), product) - classes.begin();
        found.push_back(std::move(values[1]));
        found.push_back(Ort::Value::CreateTensor<int64_t>(memory, &index, 1, nullptr, 0));
        found = run("normality.onnx", {"network_map", "embedding", "valid", "product"}, found, {"score"});
    }
    const double score = *found[0].GetTensorData<float>();

    // A product with too few good pictures has the threshold of all products together.
    const auto& own = calibration.at("per_class").at(product);
    const double threshold = own.is_null() ? calibration.at("pooled") : own;
    const bool anomalous = score > std::min(threshold + 1e-4, (threshold + 1) / 2);
    std::printf("%s  score %.6f  threshold %.6f\n", anomalous ? "ANOMALOUS" : "good", score, threshold);
    return anomalous;  // 0 good, 1 anomalous, 2 a mistake
} catch (const std::exception& error) {
    std::fprintf(stderr, "inspect: %s\n", error.what());
    return 2;
}
