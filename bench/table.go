package main

import (
	"fmt"
	"slices"
	"strings"
)

// sample is the figures of one side over the rounds.
type sample []float64

func (s sample) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// String is the median with the smallest and the greatest.
func (s sample) String() string {
	if len(s) == 0 {
		return "–"
	}
	return fmt.Sprintf("%s [%s..%s]", short(s.median()), short(slices.Min(s)), short(slices.Max(s)))
}

// short writes a figure with three or four digits that count.
func short(v float64) string {
	switch {
	case v >= 10_000:
		return fmt.Sprintf("%.1f k", v/1000)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// row is one line of the table.
type row struct {
	what, unit      string
	ours, reference sample
	against         string
	// goal is the ratio (ours to the reference) to reach, or, with atMost, not to
	// exceed. With no reference, it is about our figure itself.
	goal   float64
	atMost bool
}

// ratio compares medians.
func (r row) ratio() float64 {
	if len(r.reference) == 0 {
		return r.ours.median()
	}
	return r.ours.median() / r.reference.median()
}

func (r row) met() bool {
	if r.atMost {
		return r.ratio() <= r.goal
	}
	return r.ratio() >= r.goal
}

// cells are the line as text.
func (r row) cells() []string {
	sign, times := "≥ ", " ×"
	if r.atMost {
		sign = "≤ "
	}
	ratio, against := short(r.ratio())+times, r.reference.String()
	if len(r.reference) == 0 {
		ratio, times, against = "", "", "–"
	}
	verdict := "met"
	switch {
	case r.goal == 0:
		return []string{r.what, r.unit, r.ours.String(), r.against, against, ratio, "–", "–"}
	case !r.met():
		verdict = "MISSED"
	}
	return []string{r.what, r.unit, r.ours.String(), r.against, against, ratio, sign + short(r.goal) + times, verdict}
}

// table writes the lines in Markdown.
func table(rows []row) string {
	lines := [][]string{{"what", "unit", "ours", "against", "reference", "ratio", "goal", ""}}
	lines = append(lines, []string{"---", "---", "---", "---", "---", "---", "---", "---"})
	for _, r := range rows {
		lines = append(lines, r.cells())
	}
	var out strings.Builder
	for _, cells := range lines {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
	}
	return out.String()
}
