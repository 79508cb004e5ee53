#!/usr/bin/env bash
# What one decision costs, in instructions: instructions.sh PROGRAM, where PROGRAM is `headroom` as the
# test command builds it. Time on a shared machine says nothing about three percent; instructions, counted
# by callgrind, are the same within a thousandth.
#
# The bounds are in instructions.txt, one line for each compiler. Under another compiler there is none that
# would mean anything, so the decision is held against what the benchmark does around it (a bare lookup of
# the same account in a map of the same kind, and a key made), more loosely; the line to add is printed.
set -euo pipefail
program=$1
bounds=$(dirname "$0")/instructions.txt

count() { # DECISIONS OPTION..
    local decisions=$1 told collected
    shift
    told=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" \
        "$program" bench-decide --accounts 1000 --decisions "$decisions" 2>&1)
    collected=$(awk '/Collected/ { print $NF }' <<<"$told")
    [ "${collected:-0}" -gt 0 ] || { echo "callgrind counted nothing: $told" >&2; exit 1; }
    echo "$collected"
}

# Of the difference of two numbers of decisions, so that what happens once is no part of it.
each() { # OPTION..
    local few many
    few=$(count 10000 "$@")
    many=$(count 20000 "$@")
    echo $(((many - few) / 10000))
}

all=$(each)
decision=$(each --toggle-collect=headroom::bench::consume)
around=$((all - decision))
compiler="$(rustc --version | awk '{ print $2 }') $(uname -m)"
printf 'a decision: %d instructions, around it %d (rustc %s)\n' "$decision" "$around" "$compiler"

read -r known known_around < <(awk -v compiler="$compiler" '$1 " " $2 == compiler { print $3, $4 }' "$bounds") || true
if [ -n "$known" ]; then
    # 3 % above what it was, also in proportion to what is around it: another C library makes both dearer.
    if [ $((decision * 100)) -gt $((known * 103)) ] &&
        [ $((decision * known_around * 100)) -gt $((known * around * 103)) ]; then
        echo "a decision was $known instructions, and may be 3 % more" >&2
        exit 1
    fi
    [ $((decision * 100)) -ge $((known * 97)) ] || echo "it was $known: take the bound in $bounds down"
    exit 0
fi
read -r _ _ known known_around < <(grep -v '^#' "$bounds" | tail -1)
echo "no bound for this compiler; to have one, add to $bounds: $compiler $decision $around"
if [ $((decision * known_around * 100)) -gt $((known * around * 115)) ]; then
    echo "a decision was $known instructions where $known_around were around it: 15 % more at most" >&2
    exit 1
fi
