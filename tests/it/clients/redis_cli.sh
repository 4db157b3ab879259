#!/usr/bin/env bash
# redis-cli (and so hiredis, the C library) against HOST:PORT [CA.pem]; exits 1 and says what differed.
set -u

host=${1%:*} port=${1##*:}
tls=()
[ $# -gt 1 ] && tls=(--tls --cacert "$2")

# A client that hangs is a failure too.
cli() { timeout 20 redis-cli -h "$host" -p "$port" "${tls[@]}" "$@"; }

same() {
  if [ "$2" != "$3" ]; then
    printf 'redis-cli: %s: got "%s", wanted "%s"\n' "$1" "${2:0:300}" "${3:0:300}" >&2
    exit 1
  fi
}

for resp in -2 -3; do
  key="redis-cli:$resp"
  same "PING" "$(cli $resp PING)" "PONG"
  same "SET" "$(cli $resp SET "$key:s" "two words")" "OK"
  same "GET" "$(cli $resp GET "$key:s")" "two words"
  same "GET of nothing" "$(cli $resp --no-raw GET "$key:none")" "(nil)"
  same "-x" "$(head -c 300000 /dev/zero | tr '\0' v | cli $resp -x SET "$key:large")" "OK"
  same "STRLEN" "$(cli $resp STRLEN "$key:large")" "300000"
  same "length of GET" "$(cli $resp GET "$key:large" | wc -c)" "300001"
  same "an error" "$(cli $resp LPUSH "$key:s" x | cut -d' ' -f1)" "WRONGTYPE"
  same "-n" "$(cli $resp -n 3 SET "$key:db" three; cli $resp -n 3 GET "$key:db"; cli $resp EXISTS "$key:db"; cli $resp -n 3 DEL "$key:db")" \
    "$(printf 'OK\nthree\n0\n1')"
  # One connection, one command at a time: an open MULTI.
  same "MULTI" "$(printf 'MULTI\nSET %s:m 1\nINCR %s:m\nEXEC\n' "$key" "$key" | cli $resp)" \
    "$(printf 'OK\nQUEUED\nQUEUED\nOK\n2')"
  same "SELECT" "$(printf 'SELECT 3\nSET %s:d x\nSELECT 0\nEXISTS %s:d\nSELECT 3\nDEL %s:d\n' "$key" "$key" "$key" | cli $resp)" \
    "$(printf 'OK\nOK\nOK\n0\nOK\n1')"
  same "-r" "$(cli $resp -r 5 INCR "$key:count" | tail -1)" "5"
  same "--eval" "$(cli $resp EVAL 'return redis.call("GET", KEYS[1])' 1 "$key:s")" "two words"
  cli $resp DEL "$key:s" "$key:large" "$key:m" "$key:count" >/dev/null
done

# Mass insertion: thousands of commands without waiting, counted by an ECHO at the end.
commands() { for n in $(seq 5000); do printf '*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$1\r\nx\r\n' "${#1}" "$1"; done; }
same "--pipe" "$(commands "redis-cli:pipe" | cli --pipe | tail -1)" "errors: 0, replies: 5000"
same "--scan" "$(cli --scan --pattern 'redis-cli:pipe' | head -1)" "redis-cli:pipe"
cli DEL redis-cli:pipe >/dev/null

# Inline commands, as people type them over a plain connection.
if [ $# -eq 1 ]; then
  exec 3<>"/dev/tcp/$host/$port"
  printf 'SET redis-cli:inline "a b"\r\nGET redis-cli:inline\nDEL redis-cli:inline\r\nQUIT\r\n' >&3
  same "inline" "$(timeout 10 cat <&3 | tr -d '\r')" "$(printf '+OK\n$3\na b\n:1\n+OK')"
  exec 3>&-
fi
echo "$(redis-cli --version): everything as it should be"
