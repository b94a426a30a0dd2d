#!/usr/bin/env bash
# What the memory plan says against what runs took, as a table: benches/memory.sh TRAINER DEVICE...
# Networks as the demo's; image pools that three steps fill. At 256 with batch 4 a software adapter gets
# networks a quarter as wide, or a step would take minutes.
set -euo pipefail
trainer=$1
shift
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
echo "| device | size | batch | ngf | planned | measured | difference |"
echo "|---|---|---|---|---|---|---|"
for device in "$@"; do
    for size in ${SIZES:-64 128 256}; do
        for batch in ${BATCHES:-1 4}; do
            ngf=32
            [[ $device != cpu && $size = 256 && $batch = 4 ]] && ngf=8
            out=$("$trainer" train --device "$device" --size "$size" --load-size 0 --batch "$batch" \
                --ngf $ngf --ndf $ngf --steps 3 --pool-size $((2 * batch)) --out "$runs/$device-$size-$batch" \
                ${FLAGS:-} 2>&1) || { echo "$out" >&2; exit 1; }
            # "memory      322 MiB at the most, planned 231 MiB"
            echo "$out" | awk -v row="| $device | $size | $batch | $ngf |" '
                function mib(number, unit) { return number * (unit ~ /^GiB/ ? 1024 : unit ~ /^KiB/ ? 1 / 1024 : 1) }
                /^memory .* at the most, planned/ {
                    measured = mib($2, $3); planned = mib($8, $9)
                    printf "%s %.0f MiB | %.0f MiB | %+.1f %% |\n", row, planned, measured, 100 * (planned / measured - 1)
                }'
        done
    done
done
