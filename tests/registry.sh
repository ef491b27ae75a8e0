# SPDX-License-Identifier: Apache-2.0
#
# Sourced: a real registry on loopback, with its access log as the witness of what was asked of it.
# Needs WORK, a scratch directory, and PIDS, an array whose processes the caller ends.

# wait_until SECONDS COMMAND…
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@" &>/dev/null; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start_registry [PORT]: over what WORK/registry holds. Sets REGISTRY (host:port), REGISTRY_PID and
# REGISTRY_LOG. REGISTRY_TLS, "CERTIFICATE KEY", makes it speak https; REGISTRY_HTPASSWD, a file,
# makes it ask for a password.
start_registry() {
  REGISTRY=127.0.0.1:${1:-$(free_port)}
  REGISTRY_LOG=$WORK/registry.log
  mkdir -p "$WORK/registry"
  cat >"$WORK/registry.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $WORK/registry}}
http:
  addr: $REGISTRY
YML
  [[ -z ${REGISTRY_TLS:-} ]] ||
    printf '  tls: {certificate: %s, key: %s}\n' "${REGISTRY_TLS% *}" "${REGISTRY_TLS#* }" >>"$WORK/registry.yml"
  [[ -z ${REGISTRY_HTPASSWD:-} ]] ||
    printf 'auth: {htpasswd: {realm: test, path: %s}}\n' "$REGISTRY_HTPASSWD" >>"$WORK/registry.yml"
  docker-registry serve "$WORK/registry.yml" >>"$REGISTRY_LOG" 2>&1 &
  REGISTRY_PID=$!
  PIDS+=("$REGISTRY_PID")
  wait_until 20 curl -sk -o "$WORK/greeting" "http${REGISTRY_TLS:+s}://$REGISTRY/v2/" || {
    echo "the registry does not answer: $(tail -3 "$REGISTRY_LOG")" >&2
    return 1
  }
}

stop_registry() { kill "$REGISTRY_PID"; wait "$REGISTRY_PID" || true; }

# requests METHOD PATTERN: the answers so far to requests whose path matches, one a line:
# "PATH STATUS BYTES".
requests() {
  await_log
  sed -nE 's/^.*"([A-Z]+) ([^ "]+) HTTP[^"]*" ([0-9]+) ([0-9]+) .*$/\1 \2 \3 \4/p' "$REGISTRY_LOG" |
    awk -v method="$1" -v pattern="$2" '$1 == method && $2 ~ pattern { print $2, $3, $4 }'
}
forget_requests() { await_log && : >"$REGISTRY_LOG"; }
# The registry logs an answer when its last byte has gone: a moment after its client went on.
await_log() { sleep 0.1; }
# bytes_sent [PATTERN]: in answers to GET requests, of blobs unless another path is named.
bytes_sent() { requests GET "${1:-/blobs/}" | awk '{ sum += $3 } END { printf "%.0f\n", sum }'; }
