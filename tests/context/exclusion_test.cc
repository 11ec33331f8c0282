#include "context/exclusion.h"

#include <doctest/doctest.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace fimd {
namespace {

bool glob(const char* pattern, const char* path) {
  const auto parsed = Glob::parse(pattern);
  REQUIRE(parsed.ok());
  return parsed->matches(path);
}

TEST_CASE("globs match as in .gitignore") {
  CHECK(glob("*.pem", "a.pem"));
  CHECK(glob("*.pem", "x/y/a.PEM"));
  CHECK_FALSE(glob("*.pem", "a.pem.txt"));
  CHECK(glob("secret", "secret/x/y.c"));  // a folder and all below
  CHECK(glob("secret/", "a/secret/y.c"));
  CHECK_FALSE(glob("secret/", "a/secret"));
  CHECK(glob("/top.c", "top.c"));
  CHECK_FALSE(glob("/top.c", "a/top.c"));
  CHECK(glob("a/*.c", "a/x.c"));
  CHECK_FALSE(glob("a/*.c", "a/b/x.c"));
  CHECK_FALSE(glob("a/*.c", "b/a/x.c"));
  CHECK(glob("a/**/x.c", "a/x.c"));
  CHECK(glob("a/**/x.c", "a/b/c/x.c"));
  CHECK(glob("**/gen/*.{h,cc}", "p/q/gen/x.cc"));
  CHECK(glob("a/**", "a/b/c"));
  CHECK(glob("?at[0-9]", "x/cat7"));
  CHECK_FALSE(glob("?at[!0-9]", "cat7"));
  CHECK(glob("[]a]", "]"));
  CHECK(glob("\\*x", "*x"));
  CHECK_FALSE(glob("\\*x", "ax"));
  CHECK(glob("{a,b{c,d}}.txt", "bd.txt"));
  CHECK_FALSE(glob("{a,b{c,d}}.txt", "b.txt"));
  CHECK(glob("é*", "école"));
  CHECK(Glob::parse("!x")->negated());
}

TEST_CASE("bad patterns are errors that name them") {
  for (const char* pattern : {"", "!", "/", "[a", "{a", "a/[b/c", "{a,{b}"}) {
    const auto parsed = Glob::parse(pattern);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().code == ErrorCode::kInvalidArgument);
  }
  std::string many;
  for (int i = 0; i < 12; ++i) many += "{a,b}";
  CHECK_FALSE(Glob::parse(many).ok());
  CHECK_FALSE(Glob::parse(std::string(5000, 'x')).ok());
  CHECK(Exclusion::make({"ok", "[bad"}).error().message.find("[bad") != std::string::npos);
}

TEST_CASE("matching stays fast on hostile patterns") {
  std::string pattern;
  for (int i = 0; i < 60; ++i) pattern += "**/*a*a*a*a*b/";
  pattern += "x";
  std::string path;
  for (int i = 0; i < 60; ++i) path += std::string(60, 'a') + "/";
  const auto parsed = Glob::parse(pattern);
  REQUIRE(parsed.ok());
  CHECK_FALSE(parsed->matches(path));
}

TEST_CASE("secret files are excluded out of the box") {
  const Exclusion exclusion;
  for (const char* path : {".env",
                           ".env.local",
                           "a/.env.production",
                           "prod.env",
                           "keys/server.pem",
                           "x.key",
                           "x.p12",
                           "x.pfx",
                           "x.cert",
                           "x.crt",
                           "home/.ssh/config",
                           "id_rsa",
                           "id_rsa.pub",
                           "id_ed25519",
                           "db.kdbx",
                           ".netrc",
                           ".npmrc",
                           ".pypirc",
                           "config/secrets.yml",
                           "SECRETS.YAML",
                           "credentials.json",
                           "gcp-credentials-prod.json",
                           ".aws/credentials",
                           "terraform.tfstate",
                           "terraform.tfstate.backup",
                           "prod.tfvars",
                           "/home/u/.config/x.pem",
                           "a\\b\\c.pem",
                           "node_modules/a/index.js",
                           "lib/jquery.min.js"}) {
    CHECK_MESSAGE(exclusion.excludes_path(path), std::string(path));
  }
  for (const char* path :
       {"main.py", "environment.py", "src/env.ts", "keys.go", "key.c", "README.md",
        "credentials.py", "credentials_provider.ts", "aws.tf", "monkey.cc"}) {
    CHECK_MESSAGE(!exclusion.excludes_path(path), std::string(path));
  }
}

TEST_CASE("the last matching pattern decides") {
  const auto exclusion = Exclusion::make({"private/**", "!private/public.c", "!.env.example"});
  REQUIRE(exclusion.ok());
  CHECK(exclusion->excludes_path("private/a.c"));
  CHECK_FALSE(exclusion->excludes_path("private/public.c"));
  CHECK_FALSE(exclusion->excludes_path(".env.example"));
  CHECK(exclusion->excludes_path(".env"));
}

TEST_CASE("a document outside of the workspace is judged by its whole path") {
  Workspace workspace;
  workspace.set_folders({"/w/.ssh-tools"});
  const Exclusion exclusion;
  const auto reason = [&](const std::string& uri) {
    return exclusion.reason(workspace, *Document::open(uri, "", 1, "x\n"));
  };
  CHECK(reason("file:///home/u/.ssh/config") == "excluded path");
  CHECK(reason("file:///home/u/.docker/config.json") == "excluded path");
  CHECK(reason("file:///home/u/notes.txt") == "");
  CHECK(reason("file:///w/.ssh-tools/a.pem") == "excluded path");
  CHECK(reason("file:///w/.ssh-tools/a.py") == "");
  CHECK(reason("untitled:Untitled-1") == "");
}

TEST_CASE("ignore files hold for their folder") {
  Exclusion exclusion;
  const auto invalid = exclusion.add_ignore_file(
      "lib [x]", "# comment\n\n*.gen.c\n/top.c\nsub/\n!keep.gen.c\n[bad\r\n/\n");
  CHECK(invalid == std::vector<std::string>{"[bad", "/"});
  CHECK(exclusion.excludes_path("lib [x]/a/b.gen.c"));
  CHECK_FALSE(exclusion.excludes_path("lib [x]/a/keep.gen.c"));
  CHECK_FALSE(exclusion.excludes_path("other/b.gen.c"));
  CHECK(exclusion.excludes_path("lib [x]/top.c"));
  CHECK_FALSE(exclusion.excludes_path("lib [x]/a/top.c"));
  CHECK(exclusion.excludes_path("lib [x]/a/sub/x.c"));
  exclusion.add_ignore_file("", "build\n/only.c\n");
  CHECK(exclusion.excludes_path("a/build/x.c"));
  CHECK(exclusion.excludes_path("only.c"));
  CHECK_FALSE(exclusion.excludes_path("a/only.c"));
}

TEST_CASE("each workspace folder may have an ignore file") {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("fimd_exclusion_test_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder / "src");
  std::ofstream(folder / ".fimdignore") << "src/private_*\n[bad\n";
  Workspace workspace;
  workspace.set_folders({folder.string(), "/nowhere/at/all"});
  Exclusion exclusion;
  const auto messages = exclusion.add_ignore_files(workspace);
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].find("[bad") != std::string::npos);
  const auto file = Document::open("file://" + (folder / "src/private_x.c").string(), "", 1, "");
  CHECK(exclusion.reason(workspace, *file) == "excluded path");
  std::filesystem::remove_all(folder);
}

TEST_CASE("binary, minified and huge contents") {
  CHECK(unsuitable_content("int x;\n") == "");
  CHECK(unsuitable_content("") == "");
  CHECK(unsuitable_content(std::string("a\0b", 3)) == "binary");
  std::string garbage;
  for (int i = 0; i < 200; ++i) garbage += "ab\uFFFD\n";
  CHECK(unsuitable_content(garbage) == "binary");
  CHECK(unsuitable_content(std::string(3000, 'x')) == "minified");
  CHECK(unsuitable_content("short\n" + std::string(8000, 'x') + "\nshort\n") == "minified");
  std::string normal;
  for (int i = 0; i < 500; ++i) normal += "    some_code(with, arguments)\n";
  CHECK(unsuitable_content(normal) == "");
  CHECK(unsuitable_content(normal + std::string(4000, 'x')) == "");  // one long line is fine
  std::string huge;
  while (huge.size() <= (1 << 20)) huge += normal;
  CHECK(unsuitable_content(huge) == "too large");
  CHECK(Exclusion().reason("a.pem", "x") == "excluded path");
  CHECK(Exclusion().reason("a.c", std::string("\0", 1)) == "binary");
}

TEST_CASE("secrets inside of normal text are redacted, line by line") {
  const auto redacted = [](const std::string& text) { return redact_secrets(text).value_or(text); };
  const std::string key =
      "a = 1\nK = \"\"\"-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0\nabc\n-----END RSA "
      "PRIVATE "
      "KEY-----\"\"\"\nb = 2\n";
  CHECK(redacted(key) == "a = 1\nK = \"\"\"REDACTED\n\n\n\"\"\"\nb = 2\n");
  const std::string cut = "-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0MIIEpAIBAAKCAQEA0\n";
  CHECK(redacted(cut).find("MIIE") == std::string::npos);
  // Assembled here, so that no scanner takes this file for one that holds secrets.
  const std::string forge = std::string("ghp") + "_" + std::string(18, 'a') + std::string(18, '7');
  CHECK(redacted("t = '" + forge + "'\n") == "t = 'REDACTED'\n");
  CHECK(redacted(std::string("id: AKI") + "AIOSFODNN7EXAMPLE\n") == "id: REDACTED\n");
  CHECK(redacted(std::string("xo") + "xb-1234567890-abcdef\n") == "REDACTED\n");
  const std::string jwt =
      std::string("ey") + "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc-_def";
  CHECK(redacted("Bearer " + jwt + "\n") == "Bearer REDACTED\n");
  CHECK(redacted("postgres://bob:hunter2@db/x") == "postgres://bob:REDACTED@db/x");
  CHECK(redacted("DB_PASSWORD = \"hunter2hunter2\"\n") == "DB_PASSWORD = \"REDACTED\"\n");
  CHECK(redacted("{\"api_key\": \"abcd1234efgh\"}") == "{\"api_key\": \"REDACTED\"}");
  CHECK(redacted("client_secret: abc123def456\n") == "client_secret: REDACTED\n");
  CHECK(redacted("const apiKey = 'a1b2c3d4e5';") == "const apiKey = 'REDACTED';");
  for (const char* harmless :
       {"password = getpass()\n", "def check(password: str) -> bool:\n", "password = \"\"\n",
        "secret = os.environ[\"X1234567\"]\n", "http://example.com:8080/a@b\n",
        "sk-learn-like-name-here-x\n", "npm_config_registry_something_long\n",
        "password=\"${PASSWORD1}\"\n", "x = 1\n", "-----BEGIN CERTIFICATE-----\n",
        "secret_key = config.secret_key2\n", ""}) {
    CHECK_MESSAGE(!redact_secrets(harmless).has_value(), std::string(harmless));
  }
  const std::string lines = redacted(key);
  CHECK(std::count(lines.begin(), lines.end(), '\n') == std::count(key.begin(), key.end(), '\n'));
}

}  // namespace
}  // namespace fimd
