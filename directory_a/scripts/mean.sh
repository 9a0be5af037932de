#!/bin/sh
# The mean of the third column of a CSV file: mean.sh measurements/temperature.csv
awk -F, 'NR > 1 { sum += $3; n += 1 } END { if (n) printf "%.2f\n", sum / n }' "$1"
