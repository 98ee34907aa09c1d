#!/bin/bash
# Runs one file of server cases: run.sh FACET CASES.test
#
# Starts facet serve with the demonstration model on a socket in an empty folder, runs the cases as tests/cli/run.sh does
# ("$ command", "> line", ">? pattern", ...), and ends the server, which must stop cleanly. The first line of the file may
# say "# serve: OPTIONS". In cases:
#   ask PATH [JSON] [CURL OPTION...]     the body of the answer; POST when there is JSON
#   status PATH [JSON] [CURL OPTION...]  the status alone
#   stay PATH JSON [CURL OPTION...] &    the same as ask; kill $! makes the client leave
#   events PATH JSON                     the data lines of a stream, without "data: "
#   text                                 standard input without what differs each time: ids, times, the model's name
set -u
program=$(realpath "$1") cases=$(realpath "$2") here=$(realpath "$(dirname "$0")")
folder=$(mktemp -d)
export SOCKET=$folder/s FOLDER=$folder
ask() {
    local path=$1 data=(-d "${2-}")
    [[ ${2-} ]] || data=()
    curl -sS -N --max-time 60 --unix-socket "$SOCKET" "${data[@]}" "${@:3}" "http://localhost$path"
}
stay() { exec curl -sS -N --unix-socket "$SOCKET" -d "$2" "${@:3}" "http://localhost$1"; }
status() { ask "$1" "${2-}" -o /dev/null -w '%{http_code}\n' "${@:3}"; }
events() { ask "$1" "$2" | sed -n 's/^data: //p'; }
text() {
    sed -E 's/"(id|call_id|item_id|request_id|tool_call_id)":"[a-z]+[_-][0-9a-f]+"/"\1":"ID"/g
        s/"request_id":"[0-9a-f]+"/"request_id":"ID"/g
        s/"(created|created_at|completed_at)":("[^"]*"|[0-9]+)/"\1":0/g; s/"timings":\{[^}]*\}/"timings":{}/g
        s/"([a-z_]*_duration)":[0-9]+/"\1":0/g; s/"model":"facet tiny \(demonstration\)"/"model":"M"/g'
}
export -f ask stay status events text

options=$(sed -n '1s/^# serve: //p' "$cases")
# shellcheck disable=SC2086
(cd "$folder" && eval "exec \"$program\" serve --unix \"$SOCKET\" $options") > "$folder/out" 2> "$folder/err" &
server=$!
trap 'kill -9 $server 2>/dev/null; rm -rf "$folder"' EXIT
for ((i = 0; i < 300; i++)); do
    [[ $(status /health 2>/dev/null) == 200 ]] && break
    sleep 0.1
done

"$here/../cli/run.sh" "$program" "$cases"
result=$?
kill -TERM $server
wait $server
stopped=$?
if ((stopped != 0)) || grep -q Sanitizer "$folder/err"; then
    echo "the server did not stop cleanly: status $stopped"
    cat "$folder/err"
    result=1
fi
exit $result
