// SPDX-License-Identifier: Apache-2.0
#include "fetch/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <concepts>
#include <optional>
#include <sstream>

#include "fetch/base64.h"
#include "tests/fetch/temp_dir.h"

namespace layerfs {
namespace {

using testing::HasSubstr;
using testing::Not;

// Style rule 22: a secret cannot be written into a message by accident.
template <typename T>
concept Streamable = requires(std::ostringstream& out, const T& value) { out << value; };
static_assert(!Streamable<Secret>);
static_assert(!std::convertible_to<Secret, std::string>);

class EnvironmentVariable {
 public:
  EnvironmentVariable(const char* name, const std::string& value) : name_(name) {
    if (const char* before = getenv(name)) before_ = before;
    setenv(name, value.c_str(), 1);
  }
  ~EnvironmentVariable() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  EnvironmentVariable(const EnvironmentVariable&) = delete;
  EnvironmentVariable& operator=(const EnvironmentVariable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

std::string Auth(const std::string& text) { return Base64Encode(AsBytes(text)); }

class Credentials : public testing::Test {
 protected:
  Credential Find(const std::string& config, const std::string& registry,
                  const std::string& repository = "app") {
    const auto found = Look(config, registry, repository);
    EXPECT_TRUE(found.has_value()) << found.error().context;
    return found ? found->credential : Credential();
  }
  Result<FoundCredential> Look(const std::string& config, const std::string& registry,
                               const std::string& repository = "app") {
    const CredentialStore store({.auth_file = directory_.Write("auth.json", config),
                                 .helper_timeout = std::chrono::milliseconds(500)});
    return store.Find(registry, repository);
  }
  // A docker-credential-NAME that is found by its name.
  void WriteHelper(const std::string& name, const std::string& script) {
    const std::string file =
        directory_.Write("bin/docker-credential-" + name, "#!/bin/sh\n" + script);
    chmod(file.c_str(), 0755);
  }
  std::string HelperPath() const {
    const char* const path = getenv("PATH");
    return directory_ / "bin:" + std::string(path != nullptr ? path : "");
  }

  TempDir directory_;
};

TEST_F(Credentials, AuthIsNameAndPassword) {
  const Credential credential =
      Find(R"({"auths":{"r.example":{"auth":")" + Auth("user:pa:ss") + R"("}}})", "r.example");
  EXPECT_EQ(credential.username, "user");
  EXPECT_EQ(credential.password.Reveal(), "pa:ss");
  EXPECT_EQ(credential.BasicAuthorization().Reveal(), "Basic " + Auth("user:pa:ss"));
}

TEST_F(Credentials, TheLongestKeyThatCoversTheRepositoryWins) {
  const std::string config = R"({"auths":{"r.example":{"auth":")" + Auth("host:x") +
                             R"("},"r.example/team":{"auth":")" + Auth("team:x") +
                             R"("},"r.example/team/app":{"auth":")" + Auth("app:x") + R"("}}})";
  EXPECT_EQ(Find(config, "r.example", "other").username, "host");
  EXPECT_EQ(Find(config, "r.example", "team").username, "team");
  EXPECT_EQ(Find(config, "r.example", "team/b").username, "team");
  EXPECT_EQ(Find(config, "r.example", "team/app/x").username, "app");
  EXPECT_EQ(Find(config, "r.example", "teammate").username, "host");
  EXPECT_TRUE(Find(config, "r.example.org").empty());
  EXPECT_TRUE(Find(config, "r.example:5000").empty());
}

TEST_F(Credentials, DockersSpellingsOfTheHubAreOne) {
  for (const char* key : {"https://index.docker.io/v1/", "index.docker.io", "docker.io",
                          "registry-1.docker.io", "http://docker.io/v2/"}) {
    const std::string config =
        R"({"auths":{")" + std::string(key) + R"(":{"auth":")" + Auth("u:p") + R"("}}})";
    EXPECT_EQ(Find(config, "docker.io", "library/debian").username, "u") << key;
  }
}

TEST_F(Credentials, IdentityTokensAndPlainMembersAreRead) {
  EXPECT_EQ(Find(R"({"auths":{"r":{"identitytoken":"t"}}})", "r").identity_token.Reveal(), "t");
  EXPECT_EQ(Find(R"({"auths":{"r":{"username":"u","password":"p"}}})", "r").password.Reveal(), "p");
}

TEST_F(Credentials, FilesWithoutAnythingOfUseAreNoError) {
  for (const char* config : {"", "{}", R"({"auths":{}})", R"({"auths":null})",
                             R"({"auths":{"r":{}}})", R"({"auths":{"r":null}})"}) {
    EXPECT_TRUE(Find(config, "r").empty()) << config;
  }
}

TEST_F(Credentials, BrokenFilesAreNamedAndTheirContentIsNotShown) {
  for (const char* config : {"{hidden", "[]", R"({"auths":{"r":{"auth":"hidden!"}}})",
                             R"({"auths":{"r":{"auth":"aGlkZGVu"}}})"}) {
    const auto found = Look(config, "r");
    ASSERT_FALSE(found.has_value()) << config;
    EXPECT_EQ(found.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(found.error().context, HasSubstr("auth.json"));
    EXPECT_THAT(found.error().context, Not(HasSubstr("hidden")));
  }
}

TEST_F(Credentials, AHelperIsAskedByStdinAndItsAnswerTaken) {
  WriteHelper("mine", R"(
read server
[ "$1" = get ] && [ "$server" = r.example ] || exit 1
printf '{"ServerURL":"%s","Username":"from-helper","Secret":"s"}' "$server")");
  const EnvironmentVariable path("PATH", HelperPath());
  EXPECT_EQ(Find(R"({"credHelpers":{"r.example":"mine"}})", "r.example").username, "from-helper");
  EXPECT_EQ(Find(R"({"credsStore":"mine","auths":{"r.example":{}}})", "r.example").username,
            "from-helper");
}

TEST_F(Credentials, AHelpersTokenIsAnIdentityToken) {
  WriteHelper("mine", R"(printf '{"ServerURL":"r","Username":"<token>","Secret":"t"}')");
  const EnvironmentVariable path("PATH", HelperPath());
  EXPECT_EQ(Find(R"({"credsStore":"mine"})", "r").identity_token.Reveal(), "t");
}

TEST_F(Credentials, AnEntryOfTheFileComesBeforeTheStore) {
  WriteHelper("mine", R"(printf '{"ServerURL":"r","Username":"helper","Secret":"t"}')");
  const EnvironmentVariable path("PATH", HelperPath());
  EXPECT_EQ(Find(R"({"credsStore":"mine","auths":{"r":{"username":"file","password":"p"}}})", "r")
                .username,
            "file");
}

struct BadHelper {
  const char* name;
  const char* script;
  const char* says;
};
std::ostream& operator<<(std::ostream& out, const BadHelper& row) { return out << row.name; }
class BadHelperTest : public Credentials, public testing::WithParamInterface<BadHelper> {};

TEST_P(BadHelperTest, KeepsNobodyFromAPublicImageAndIsRemembered) {
  WriteHelper("mine", GetParam().script);
  const EnvironmentVariable path("PATH", HelperPath());
  const auto found = Look(R"({"credsStore":"mine"})", "r");
  ASSERT_TRUE(found.has_value()) << found.error().context;
  EXPECT_TRUE(found->credential.empty());
  EXPECT_THAT(found->problem, HasSubstr(GetParam().says));
  EXPECT_THAT(found->problem, Not(HasSubstr("hidden")));
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadHelperTest,
    testing::Values(BadHelper{"Fails", "echo hidden; exit 3", "docker-credential-mine: it failed"},
                    BadHelper{"Hangs", "sleep 100", "in time"},
                    BadHelper{"HangsInAChild", "sleep 100 & exit 0", "in time"},
                    BadHelper{"Garbage", "echo hidden", "not JSON"},
                    BadHelper{"NoSecret", "echo '{\"Username\":\"hidden\"}'", "Secret"},
                    BadHelper{"TooMuchAndOn", "yes hidden", "answer is too long"},
                    BadHelper{"TooMuch", "yes hidden | head -c 1000000", "answer is too long"}),
    [](const auto& info) { return info.param.name; });

TEST_F(Credentials, AHelperThatIsMissingOrNoNameIsRemembered) {
  EXPECT_THAT(Look(R"({"credsStore":"not-installed"})", "r")->problem,
              HasSubstr("docker-credential-not-installed"));
  EXPECT_THAT(Look(R"({"credsStore":"../../bin/sh"})", "r")->problem,
              HasSubstr("not a program's name"));
}

TEST_F(Credentials, AHelperThatHasNothingIsNoProblem) {
  WriteHelper("mine", "echo 'credentials not found in native keychain'; exit 1");
  const EnvironmentVariable path("PATH", HelperPath());
  EXPECT_EQ(Look(R"({"credsStore":"mine"})", "r")->problem, "");
}

TEST_F(Credentials, ThePlacesAreSearchedInOrder) {
  const EnvironmentVariable named("REGISTRY_AUTH_FILE", directory_ / "named.json");
  const EnvironmentVariable runtime("XDG_RUNTIME_DIR", directory_ / "run");
  const EnvironmentVariable home("HOME", directory_ / "home");
  const EnvironmentVariable config_home("XDG_CONFIG_HOME", "");
  const EnvironmentVariable docker("DOCKER_CONFIG", "");
  const CredentialStore store({});
  const std::vector<std::string> files = store.Files();
  EXPECT_THAT(files, testing::ElementsAre(directory_ / "named.json",
                                          directory_ / "run/containers/auth.json",
                                          directory_ / "home/.config/containers/auth.json",
                                          directory_ / "home/.docker/config.json"));
  // From the last place to the first: each hides the ones behind it.
  for (size_t i = files.size(); i-- > 0;) {
    const std::string user = "user" + std::to_string(i);
    directory_.Write(files[i].substr(directory_.path().size() + 1),
                     R"({"auths":{"r":{"username":")" + user + R"(","password":"p"}}})");
    EXPECT_EQ(store.Find("r", "app")->credential.username, user);
  }
  EXPECT_THAT(store.LoginHint("r"),
              HasSubstr("skopeo login r (credentials are looked for in " + files[0]));
}

TEST_F(Credentials, AFileThatIsNamedAndMissingIsAnError) {
  const CredentialStore store({.auth_file = directory_ / "missing.json"});
  const auto found = store.Find("r", "app");
  ASSERT_FALSE(found.has_value());
  EXPECT_THAT(found.error().context, HasSubstr("missing.json"));
}

}  // namespace
}  // namespace layerfs
