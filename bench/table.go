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

// none stands where there is no figure.
const none = "–"

// String is the median with the smallest and the greatest, if there are several.
func (s sample) String() string {
	switch len(s) {
	case 0:
		return none
	case 1:
		return digits(s[0])
	}
	return fmt.Sprintf("%s [%s..%s]", digits(s.median()), digits(slices.Min(s)), digits(slices.Max(s)))
}

// digits writes a figure with three or four digits that count.
func digits(v float64) string {
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

// Figures, named as the Go benchmarks of the services name them.
const (
	submissions   = "submissions/s"
	events        = "events/s"
	sends         = "sends/s"
	notifications = "notifications/s"
	connections   = "conns/1000"
	p50           = "p50-ms"
	p99           = "p99-ms"
)

// units are those that the table writes otherwise.
var units = map[string]string{connections: "per 1000 sends", p50: "ms", p99: "ms"}

// row is one line of the table: a figure of ours, against that of another side.
type row struct {
	what, figure    string
	ours, reference *side // no reference: nil
	// goal is the ratio (ours to the reference) to reach, or, with atMost, not to
	// exceed. With no reference, it is about our figure itself.
	goal   float64
	atMost bool
}

// withOlder gives the rows this tree's side, and adds those that compare it with
// the earlier commit's, one for each figure.
func withOlder(ours []*side, list []row) []row {
	seen := make(map[string]bool)
	var added []row
	for i := range list {
		list[i].ours = ours[0]
		if key := list[i].what + list[i].figure; len(ours) > 1 && !seen[key] {
			seen[key] = true
			added = append(added, row{what: list[i].what, figure: list[i].figure, ours: ours[0], reference: ours[1]})
		}
	}
	return append(list, added...)
}

func (r row) unit() string {
	if unit := units[r.figure]; unit != "" {
		return unit
	}
	return r.figure
}

// sample is a side's figures of this row.
func (r row) sample(s *side) sample {
	if s == nil {
		return nil
	}
	return s.figures[r.figure]
}

// ratio compares medians. Without a reference it is our figure.
func (r row) ratio() float64 {
	ours := r.sample(r.ours).median()
	if r.reference == nil {
		return ours
	}
	return quotient(ours, r.sample(r.reference).median())
}

// quotient is zero where there is nothing to compare with.
func quotient(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// costs are what an operation takes of each part of a side. They stand beside
// rates, and once beside the delays of a row.
func (r row) costs(s *side) string {
	if s == nil || len(s.costs) == 0 || r.figure == p99 || r.figure == connections {
		return none
	}
	list := make([]string, len(s.costs))
	for i, c := range s.costs {
		list[i] = c.who + ": " + c.sample.String()
	}
	return strings.Join(list, "; ")
}

// costRatio compares what an operation takes of all parts but the load's.
func (r row) costRatio() string {
	if r.reference == nil || r.costs(r.ours) == none || r.costs(r.reference) == none {
		return none
	}
	return times(quotient(r.ours.total(), r.reference.total()))
}

func (r row) met() bool {
	if r.atMost {
		return r.ratio() <= r.goal
	}
	return r.ratio() >= r.goal
}

func times(ratio float64) string {
	if ratio == 0 {
		return none
	}
	return digits(ratio) + " ×"
}

// rateRatio is the ratio as text.
func (r row) rateRatio() string {
	if r.reference == nil {
		return none
	}
	return times(r.ratio())
}

func (r row) against() string {
	if r.reference == nil {
		return none
	}
	return r.reference.title
}

// aim is the goal as text.
func (r row) aim() string {
	aim := "≥ " + digits(r.goal)
	if r.atMost {
		aim = "≤ " + digits(r.goal)
	}
	if r.reference != nil {
		aim += " ×"
	}
	return aim
}

// cells are the line as text.
func (r row) cells() []string {
	aim, verdict := none, none
	if r.goal != 0 {
		aim, verdict = r.aim(), "met"
		if !r.met() {
			verdict = "MISSED"
		}
	}
	return []string{
		r.what, r.unit(), r.sample(r.ours).String(), r.costs(r.ours),
		r.against(), r.sample(r.reference).String(), r.costs(r.reference), r.rateRatio(), r.costRatio(), aim, verdict,
	}
}

// table writes the lines in Markdown.
func table(rows []row) string {
	lines := [][]string{
		{"what", "unit", "ours", "µs each", "against", "reference", "µs each", "ratio", "ratio of µs", "goal", ""},
		slices.Repeat([]string{"---"}, 11),
	}
	for _, r := range rows {
		lines = append(lines, r.cells())
	}
	var out strings.Builder
	for _, cells := range lines {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
	}
	return out.String()
}
