// SPDX-License-Identifier: Apache-2.0
// A converted layer as a source whose index is sound by itself, and tells of other files than its
// tar has: whoever mounts it would see what nobody sees who unpacks it. Or whose chunk table is
// damaged: whoever mounts it could read nothing.
#include <gtest/gtest.h>

#include "index/layer_index_builder.h"
#include "index/tar_parser.h"
#include "tests/tools/convert_fixture.h"
#include "tools/convert/hidden_data.h"

namespace layerfs {
namespace {

class ConvertLyingIndexTest : public ConvertImageTest {
 protected:
  // The index of `tar`'s files, with everything else of `own`.
  static Bytes IndexOf(const Bytes& tar, const Index& own) {
    LayerIndexBuilder builder;
    TarParser parser([&](TarEntry&& entry) { return builder.Add(entry); });
    EXPECT_TRUE(parser.Feed(tar).has_value());
    EXPECT_TRUE(parser.Finish().has_value());
    LayerIndexBuilder::LayerFacts facts{own.layers()[0].diff_id, own.layers()[0].tar_size, {}};
    for (uint32_t i = 0; i < own.segment_count(); ++i) facts.segments.push_back(own.Segment(i));
    return EncodeIndex(builder.Finish(facts).value()).value();
  }

  // The layer's blob with the index of other files behind it.
  Descriptor Lie(const Descriptor& layer, const Bytes& tar) {
    const Bytes blob = ReadBlob(layer);
    const ChunkRef own = DecodeIndexAnnotations(layer.annotations, layer.size)->value();
    const auto index = Index::Open(DecodeIndex(ReadRef(blob, own)).value());
    auto spool = SpoolFile::Open("");
    EXPECT_TRUE(spool->Append(ByteSpan(blob).first(own.blob_offset - kZstdSkippableHeaderSize))
                    .has_value());
    HiddenData hidden(LayerCompression::kZstd, *spool);
    const auto ref = hidden.Append(IndexOf(tar, *index));
    EXPECT_TRUE(hidden.AppendFooter(*ref).has_value());
    Descriptor lying = LayoutImage(directory_ / "out").AddBlob(layer.media_type, ReadSpool(*spool));
    lying.annotations = EncodeIndexAnnotations(*ref);
    return lying;
  }
};

TEST_F(ConvertLyingIndexTest, IsConvertedAnew) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  MustConvert(Options());
  Manifest manifest = ReadManifest();
  const Descriptor honest = manifest.layers[0];
  const LayoutImage out(directory_ / "out");
  ConvertOptions options = Options("copy");
  options.source = Destination("out");
  for (const char* name : {"a", "b"}) {
    manifest.layers[0] = Lie(honest, SmallTar(name));
    out.Tag("new", out.AddBlob(media_type::kOciManifest, manifest.Encode()));
    const bool lies = std::string_view(name) != "a";
    EXPECT_EQ(MustConvert(options).layers[0].outcome,
              lies ? LayerOutcome::kConverted : LayerOutcome::kCopied)
        << name;
  }
}

TEST_F(ConvertLyingIndexTest, IsConvertedAnewWithADamagedChunkTable) {
  source_.Tag("latest", source_.AddImage({.layers = {{SmallTar("a")}}}));
  MustConvert(Options());
  Manifest manifest = ReadManifest();
  const Descriptor sound = manifest.layers[0];
  Bytes blob = ReadBlob(sound);
  const ChunkRef ref = DecodeIndexAnnotations(sound.annotations, sound.size)->value();
  const auto index = Index::Open(DecodeIndex(ReadRef(blob, ref)).value());
  const ChunkRef table = index->Segment(0).ref;
  blob[table.blob_offset + table.stored_size / 2] ^= 1;
  const LayoutImage out(directory_ / "out");
  manifest.layers[0] = out.AddBlob(sound.media_type, blob);
  manifest.layers[0].annotations = sound.annotations;
  out.Tag("new", out.AddBlob(media_type::kOciManifest, manifest.Encode()));
  ConvertOptions options = Options("copy");
  options.source = Destination("out");
  const ConvertReport report = MustConvert(options);
  EXPECT_EQ(report.layers[0].outcome, LayerOutcome::kConverted);
}

}  // namespace
}  // namespace layerfs
