#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A registry that speaks https with a certificate of its own authority and asks for a password.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
require docker-registry openssl skopeo jq

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority \
  -keyout "$WORK/ca.key" -out "$WORK/ca.crt" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=registry \
  -keyout "$WORK/server.key" -out "$WORK/server.csr" 2>/dev/null
openssl x509 -req -in "$WORK/server.csr" -CA "$WORK/ca.crt" -CAkey "$WORK/ca.key" -CAcreateserial -days 2 \
  -extfile <(echo subjectAltName=IP:127.0.0.1) -out "$WORK/server.crt" 2>/dev/null
REGISTRY_TLS="$WORK/server.crt $WORK/server.key"
REGISTRY_HTPASSWD=$WORK/htpasswd
python3 -W ignore -c 'import crypt; print("user:" + crypt.crypt("secret-word", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))' >"$REGISTRY_HTPASSWD"
start_registry

# auth_file FILE PASSWORD: as `docker login` writes it.
auth_file() {
  jq -n --arg host "$REGISTRY" --arg auth "$(printf 'user:%s' "$2" | base64)" '{auths: {($host): {auth: $auth}}}' >"$1"
}
auth_file "$WORK/auth.json" secret-word
auth_file "$WORK/wrong.json" guess
skopeo copy -q --dest-tls-verify=false --dest-creds user:secret-word "oci:$IMAGES/hardlinks:latest" "docker://$REGISTRY/test/app:source"
readonly SOURCE=docker://$REGISTRY/test/app:source
export HOME=$WORK/home
mkdir -p "$HOME/.docker"

fact "with the authority and the password, it converts"
"$LAYERFS" convert -q --ca "$WORK/ca.crt" --authfile "$WORK/auth.json" "$SOURCE" "docker://$REGISTRY/test/app:converted"

fact "a server that speaks https where plain http is tried is told"
expect_error '[1-9][0-9]*' "https: .*--ca" "$LAYERFS" inspect --authfile "$WORK/auth.json" "$SOURCE"
expect_error '[1-9][0-9]*' "no-such" "$LAYERFS" inspect --ca "$WORK/no-such.crt" --authfile "$WORK/auth.json" "$SOURCE"

fact "credentials come from REGISTRY_AUTH_FILE, and from Docker's own file"
REGISTRY_AUTH_FILE=$WORK/auth.json "$LAYERFS" inspect --ca "$WORK/ca.crt" "$SOURCE" >/dev/null
cp "$WORK/auth.json" "$HOME/.docker/config.json"
"$LAYERFS" inspect --ca "$WORK/ca.crt" "$SOURCE" >/dev/null

fact "and from a credential helper"
mkdir "$WORK/bin"
cat >"$WORK/bin/docker-credential-test" <<'SH'
#!/bin/sh
[ "$1" = get ] && printf '{"ServerURL":"%s","Username":"user","Secret":"secret-word"}' "$(cat)"
SH
chmod +x "$WORK/bin/docker-credential-test"
jq -n --arg host "$REGISTRY" '{credHelpers: {($host): "test"}}' >"$HOME/.docker/config.json"
PATH=$WORK/bin:$PATH "$LAYERFS" inspect --ca "$WORK/ca.crt" "$SOURCE" >/dev/null
rm "$HOME/.docker/config.json"

fact "without them the error says what is missing"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=stranger \
  -keyout "$WORK/stranger.key" -out "$WORK/stranger.crt" 2>/dev/null
expect_error '[1-9][0-9]*' "certificate|--ca|TLS|SSL" "$LAYERFS" inspect --ca "$WORK/stranger.crt" --authfile "$WORK/auth.json" "$SOURCE"
# Beside what --ca names, the system's authorities hold, wherever SSL_CERT_FILE says those are.
SSL_CERT_FILE=$WORK/ca.crt "$LAYERFS" inspect --ca "$WORK/stranger.crt" --authfile "$WORK/auth.json" "$SOURCE" >/dev/null
expect_error '[1-9][0-9]*' "login|credential|auth|401" "$LAYERFS" inspect --ca "$WORK/ca.crt" "$SOURCE"
expect_error '[1-9][0-9]*' "login|credential|auth|401" "$LAYERFS" inspect --ca "$WORK/ca.crt" --authfile "$WORK/wrong.json" "$SOURCE"

fact "no message holds the password"
for file in auth.json wrong.json; do
  output=$("$LAYERFS" inspect --debug --ca "$WORK/ca.crt" --authfile "$WORK/$file" "$SOURCE" 2>&1 || true)
  for word in secret-word guess "$(jq -r '.auths[].auth' "$WORK/$file")"; do
    [[ $output != *"$word"* ]] || fail "the message shows '$word': $output"
  done
done
