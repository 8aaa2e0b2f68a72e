# Sourced by the scripts of this folder: what starting and ending a real server for the suites has in common.
#
# A part is an executable `tests/env/NAME` with these words:
#   start   fetch what is missing, start, wait until it answers; prints NAME=value lines, nothing else, on stdout
#   stop    ends the process this folder's `start` began, by its id, and removes its data
#   status  prints the same lines if it runs; else fails
#   crash   kills the process and starts it again on its data and ports, where the part defines `again`
# A running part is not started twice. Downloads and data lie outside the clone, in $cache; LAKEGATE_TEST_RUN names
# another folder for what runs, for servers that nobody else uses.

cache="${LAKEGATE_TEST_CACHE:-$HOME/.cache/lakegate}"
part="$(basename "$0")"
run="${LAKEGATE_TEST_RUN:-$cache/run}/$part"

say() { echo "$part: $*" >&2; }
fail() { say "$@"; exit 1; }

# need COMMAND HINT...: fails with the hint when the command is not there.
need() { command -v "$1" >/dev/null || fail "$1 is missing: ${*:2}"; }

# A loopback port nobody listens on, below the range the system hands out itself.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
  fail "no free port was found"
}

# The process that `spawn` began, if it still is that process.
alive() {
  local pid mark
  [ -e "$run/pid" ] || return 1
  { read -r pid && read -r mark; } <"$run/pid" || return 1
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$mark"
}

# spawn MARK COMMAND...: a process of its own, ended by `stop`. MARK is a word of its command line, so that
# a process id that was given out again is never taken for it.
spawn() {
  local mark="$1"; shift
  setsid "$@" >"$run/log" 2>&1 </dev/null 9>&- &
  printf '%s\n%s\n' "$!" "$mark" >"$run/pid"
}

# While a process becomes another one (this script, setsid, the server) it has no command line for a moment.
ended() { ! alive && sleep 1 && ! alive; }

# wait_for SECONDS COMMAND...: until the command succeeds; shows the log's end if the process dies or time is up.
wait_for() {
  local left=$(($1 * 10)); shift
  until "$@"; do
    ! ended || { tail -20 "$run/log" >&2; fail "it ended while starting; its log is above"; }
    ((left-- > 0)) || { tail -20 "$run/log" >&2; fail "it is not ready in time; its log is above"; }
    sleep 0.1
  done
}

end() {
  alive || { rm -rf "$run"; return 0; }
  local pid left=150
  read -r pid <"$run/pid"
  kill "$pid"
  while alive && ((left-- > 0)); do sleep 0.1; done
  ! alive || kill -9 "$pid"
  rm -rf "$run"
}

crash() {
  local pid
  read -r pid <"$run/pid"
  kill -9 "$pid"
  while alive; do sleep 0.1; done
}

# main: dispatches on the word; the part defines `begin`, which writes its variables to "$run/env".
main() {
  mkdir -p "$(dirname "$run")"
  exec 9>"$run.lock"
  flock 9
  case "${1:-}" in
    start)
      if ! alive; then
        end
        mkdir -p "$run"
        begin >&2
      fi
      cat "$run/env"
      ;;
    stop) end ;;
    status) alive && cat "$run/env" ;;
    crash)
      declare -F again >/dev/null || fail "it keeps nothing, so it cannot be started again"
      alive || fail "it does not run"
      crash
      again >&2
      ;;
    *) echo "usage: $0 start|stop|status|crash" >&2; exit 64 ;;
  esac
}
