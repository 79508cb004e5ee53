#!/usr/bin/env bash
# Makes the fixtures of a version: make.sh DIRECTORY PROGRAM, where PROGRAM is `headroom` as built from
# the commit that the directory is named after. Needs bash, jq, GNU tar.
set -euo pipefail
here=$(realpath "$1")
program=$(realpath "$2")
# Of the directory's play: how many `signals` it brings about, and its `accounts`.
signals= accounts=()
source "$here/cast.sh"

home=$(mktemp -d /tmp/hr-make-XXXXXX)
pid=
trap '[ -z "$pid" ] || kill -9 "$pid"; rm -rf "$home"' EXIT
export HEADROOM_ENDPOINT=unix:$home/socket HEADROOM_ADMIN=unix:$home/admin

start() {
    "$program" serve --config "$home/headroom.yaml" 2>>"$home/log" &
    pid=$!
    for _ in $(seq 500); do
        "$program" status >/dev/null 2>&1 && return
        sleep 0.02
    done
    cat "$home/log" >&2 && exit 1
}

stop() { # SIGNAL
    kill "-$1" "$pid"
    wait "$pid" 2>/dev/null || [ "$1" = KILL ]
    pid=
}

# Runs one command; a refusal ends with 1, but has an answer.
run() {
    local answer
    answer=$("$program" "$@" --json || true)
    [ -n "$answer" ] || { echo "no answer: $*" >&2; exit 1; }
    echo "$answer"
}

# A line of the play as words, with the reservations in place.
words_of() { # COMMAND
    local word parts
    read -ra parts <<<"$1"
    words=()
    for word in "${parts[@]}"; do
        [[ $word == \$* ]] && word=$(jq -er --arg of "${word:1}" '.[$of].reservation_id' "$home/asked.json")
        [[ $word == @* ]] && word=$(jq -er --arg of "${word:1}" '.[$of].prompt.prompt_id' "$home/asked.json")
        words+=("$word")
    done
}

remember() { # FILE NAME ANSWER
    jq -c --arg name "$2" --argjson answer "$3" '.[$name] = $answer' "$1" >"$1.new"
    mv "$1.new" "$1"
}

# Everything that can be asked without a change. Equal before and after a start.
look() {
    local account
    run status | jq -c '{status: {catalog_revision, now, test_clock, accounts, ledgers,
        idempotency_horizon_s, signals_emitted, ledgers_halted}}'
    run account list | jq -c '{list: .}'
    for account in "${accounts[@]}"; do
        run account get "$account" | jq -c --arg a "$account" '{get: {($a): .}}'
        run ask usage "$account" --since 2000-01-01 | jq -c --arg a "$account" '{usage: {($a): .}}'
        run ask entitlements "$account" | jq -c --arg a "$account" '{entitlements: {($a): .}}'
    done
    [ -f "$here/look.txt" ] || return 0
    while read -r command; do
        [[ $command == '#'* ]] && continue
        words_of "$command"
        run "${words[@]}" | jq -c --arg command "$command" '{looks: {($command): .}}'
    done <"$here/look.txt"
}

make() { # NAME, what comes between the acts, SIGNAL at the end
    local name command answer
    rm -rf "${home:?}"/* && cd "$home"
    cp "$here/catalog.yaml" .
    [ ! -f "$here/opening.csv" ] || cp "$here/opening.csv" .
    cat >headroom.yaml <<SETTINGS
catalog: catalog.yaml
data_dir: data
listen: unix:$home/socket
admin: unix:$home/admin
clock: test
workers: 1
log: { format: text }
segment_bytes: 1MiB
idempotency: { horizon: 30d }
SETTINGS
    echo '{}' >asked.json && echo '{}' >again.json
    start
    mkdir data/waiting.ndjson
    while read -r name command; do
        case $name in
        '' | '#'*) continue ;;
        act) "$2" && continue ;;
        esac
        words_of "$command"
        answer=$(run "${words[@]}")
        [ "$name" = - ] || remember asked.json "$name" "$answer"
    done <"$here/play.txt"

    # Refusals are told in the background, and so is what comes of rules and of time.
    for _ in $(seq 500); do
        [ "$(wc -l <data/signals.ndjson)" -ge "$signals" ] && break
        sleep 0.02
    done
    sleep 1
    [ "$(run status | jq .signals_emitted)" = "$signals" ] || {
        echo "other signals than $signals:" >&2
        jq -r '[.timestamp, .data.account, .type, .data.feature] | join(" ")' data/signals.ndjson >&2
        exit 1
    }
    look | jq -cs 'reduce .[] as $one ({}; . * $one)' >seen.json
    while read -r name command; do
        [[ $command == *--key* ]] || continue
        jq -e --arg n "$name" '.[$n].allowed' asked.json >/dev/null || continue
        words_of "$command"
        answer=$(run "${words[@]}")
        jq -e --arg n "$name" --argjson again "$answer" \
            '$again.replayed and .[$n].decision_id == $again.decision_id' asked.json >/dev/null ||
            { echo "not the same answer: $command" >&2; exit 1; }
        # What is made anew for each answer may get better; what was decided may not change.
        remember again.json "$name" "$(jq -c 'del(.durability, .prompt, .projection)' <<<"$answer")"
    done <"$here/play.txt"
    stop "$3"

    rmdir data/waiting.ndjson
    jq -n --argjson inspected "$(run inspect data)" --slurpfile seen seen.json \
        --slurpfile asked asked.json --slurpfile again again.json \
        '($asked[0] | map_values(.reservation_id // empty)) as $reservations |
        {seen: $seen[0], $inspected, $reservations, again: $again[0]}' >answers.json
    rm -f data/LOCK # Which `inspect` made again.
    # No names, times or owners of the machine it was made on.
    tar -c --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 data answers.json |
        gzip -9n >"$here/$1.tar.gz"
    ls -l "$here/$1.tar.gz"
}

restart() { stop TERM && start; }

make killed : KILL
make stopped : TERM
make continued restart KILL
