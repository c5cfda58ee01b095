// Command picture draws the dashboards of deploy/grafana as they stand in the
// documentation: their own panels and expressions, asked of a real Prometheus, drawn in
// a page that Chromium takes a picture of. It is not Grafana and looks plainer.
//
//	picture -prometheus http://localhost:9091 -minutes 15 -out ../../docs/pictures
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"html/template"
	"log"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/deploy/test/dashboards"
)

func main() {
	server := flag.String("prometheus", "http://localhost:9091", "where Prometheus answers")
	span := flag.Int("minutes", 15, "how far back pictures go")
	from := flag.String("dashboards", "../grafana", "folder of the dashboards")
	out := flag.String("out", ".", "folder of the pictures")
	flag.Parse()
	ctx := context.Background()
	all, err := dashboards.Load(*from)
	if err != nil {
		log.Fatal(err)
	}
	for name, d := range all {
		p := painter{server: *server, span: time.Duration(*span) * time.Minute, end: time.Now()}
		if err := p.paint(ctx, d, filepath.Join(*out, "dashboard-"+name+".png")); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
	}
}

type painter struct {
	server string
	span   time.Duration
	end    time.Time
}

// line is one series of a panel.
type line struct {
	Legend string
	Colour string
	Last   string
	Path   string // of an SVG
	points [][2]float64
}

// drawn is a panel as the page has it.
type drawn struct {
	dashboards.Panel

	Lines []line
	Marks []mark
	Clock []mark
}

// mark is a label of an axis.
type mark struct {
	At   float64
	Text string
}

// The picture of a panel, in its own units.
const (
	width, height = 480.0, 150.0
	steps         = 120
)

var colours = []string{"#1f77b4", "#d9730d", "#2a9d4a", "#b5179e", "#7a5cc6", "#8c564b", "#0b8a8f", "#c03a2b", "#6b6b6b", "#a38a00", "#345995", "#e26d9f"}

func (p painter) paint(ctx context.Context, d dashboards.Dashboard, path string) error {
	var panels []drawn
	for _, panel := range d.Panels {
		one, err := p.draw(ctx, panel)
		if err != nil {
			return err
		}
		panels = append(panels, one)
	}
	file, err := os.CreateTemp("", "dashboard-*.html")
	if err != nil {
		return fmt.Errorf("making the page: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	if err := page.Execute(file, map[string]any{"Dashboard": d, "Panels": panels, "Span": p.span}); err != nil {
		return fmt.Errorf("making the page: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("making the page: %w", err)
	}
	rows := (len(panels) + 2) / 3
	shot := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb", //nolint:gosec // a page of ours
		"--disable-background-networking", fmt.Sprintf("--window-size=1560,%d", 90+rows*282), "--screenshot="+path, "file://"+file.Name())
	if said, err := shot.CombinedOutput(); err != nil {
		return fmt.Errorf("taking the picture: %w\n%s", err, said)
	}
	return nil
}

func (p painter) draw(ctx context.Context, panel dashboards.Panel) (drawn, error) {
	one := drawn{Panel: panel}
	highest := 0.0
	for _, target := range panel.Targets {
		ask := p
		if target.Instant {
			ask.span = time.Second
		}
		lines, err := ask.ask(ctx, target)
		if err != nil {
			return one, err
		}
		for _, l := range lines {
			for _, point := range l.points {
				highest = max(highest, point[1])
			}
		}
		one.Lines = append(one.Lines, lines...)
	}
	slices.SortStableFunc(one.Lines, func(a, b line) int { return strings.Compare(a.Legend, b.Legend) })
	top := ceiling(highest)
	for i := range one.Lines {
		l := &one.Lines[i]
		l.Colour = colours[i%len(colours)]
		l.Last = show(panel.FieldConfig.Defaults.Unit, l.points[len(l.points)-1][1])
		l.Path = p.trace(l.points, top)
	}
	for i := range 3 {
		at := float64(i) / 2
		one.Marks = append(one.Marks, mark{height - at*height, show(panel.FieldConfig.Defaults.Unit, at*top)})
		one.Clock = append(one.Clock, mark{at * width, p.end.Add(-p.span + time.Duration(at*float64(p.span))).Format("15:04")})
	}
	return one, nil
}

// trace is a path through points; a gap in time is a gap.
func (p painter) trace(points [][2]float64, top float64) string {
	var path strings.Builder
	begin, step := float64(p.end.Add(-p.span).Unix()), p.span.Seconds()/steps
	before := math.Inf(-1)
	for _, point := range points {
		command := "L"
		if point[0]-before > 2*step {
			command = "M"
		}
		before = point[0]
		fmt.Fprintf(&path, "%s%.1f %.1f", command, (point[0]-begin)/p.span.Seconds()*width, height-point[1]/top*height)
	}
	return path.String()
}

// ask asks Prometheus for the series of an expression.
func (p painter) ask(ctx context.Context, target dashboards.Target) ([]line, error) {
	query := url.Values{
		"query": {target.Query()}, "step": {strconv.FormatFloat(max(1, p.span.Seconds()/steps), 'f', 0, 64)},
		"start": {strconv.FormatInt(p.end.Add(-p.span).Unix(), 10)}, "end": {strconv.FormatInt(p.end.Unix(), 10)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.server+"/api/v1/query_range?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus: %w", err)
	}
	client := &http.Client{Timeout: 30 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus: %w", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Error string
		Data  struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error != "" {
		return nil, fmt.Errorf("asking Prometheus %s: %w %s", target.Query(), err, answer.Error)
	}
	var lines []line
	for _, series := range answer.Data.Result {
		l := line{Legend: legend(target.Legend, series.Metric)}
		for _, pair := range series.Values {
			at, _ := pair[0].(float64)
			text, _ := pair[1].(string)
			if value, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(value) && !math.IsInf(value, 0) {
				l.points = append(l.points, [2]float64{at, value})
			}
		}
		if len(l.points) > 0 {
			lines = append(lines, l)
		}
	}
	return lines, nil
}

func legend(form string, labels map[string]string) string {
	for name, value := range labels {
		form = strings.ReplaceAll(form, "{{"+name+"}}", strings.TrimPrefix(value, "messagerie."))
	}
	return form
}

// ceiling is a round number above the highest.
func ceiling(highest float64) float64 {
	if highest <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(highest)))
	for _, times := range []float64{1, 2, 5, 10} {
		if highest <= times*unit {
			return times * unit
		}
	}
	return 10 * unit
}

// show writes a value in a unit as Grafana would, about.
func show(unit string, v float64) string {
	short := func(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
	switch {
	case unit == "percentunit":
		return short(v*100) + " %"
	case unit == "bytes":
		return short(v/(1<<20)) + " MiB"
	case unit == "s" && v != 0 && v < 1:
		return short(v*1000) + " ms"
	case unit == "s":
		return short(v) + " s"
	case unit == "reqps", unit == "ops":
		return short(v) + "/s"
	}
	return short(v)
}

var page = template.Must(template.New("page").Parse(`<!doctype html><meta charset="utf-8"><style>
body{font:13px/1.35 "DejaVu Sans",sans-serif;margin:14px;background:#f4f5f7;color:#1f2328}
h1{font-size:19px;margin:0 0 2px}p{margin:0 0 12px;color:#555}
main{display:grid;grid-template-columns:repeat(3,1fr);gap:10px}
section{background:#fff;border:1px solid #d8dce2;border-radius:4px;padding:8px 10px;height:254px;overflow:hidden}
h2{font-size:13px;margin:0 0 6px}svg{display:block;width:100%;overflow:visible}
text{font-size:10px;fill:#666}ul{list-style:none;margin:4px 0 0;padding:0;columns:2;font-size:10.5px;line-height:1.3}
li{white-space:nowrap;overflow:hidden;text-overflow:ellipsis}b{display:inline-block;width:10px;height:3px;margin-right:4px;vertical-align:middle}
.stat{columns:1;font-size:16px;line-height:1.5}i{color:#888}
</style><h1>{{.Dashboard.Title}}</h1><p>{{.Dashboard.Description}}</p><main>
{{range .Panels}}<section><h2>{{.Title}}</h2>
{{if eq .Type "stat"}}<ul class="stat">{{range .Lines}}<li>{{.Last}} <i>{{.Legend}}</i></li>{{end}}</ul>{{else}}
<svg viewBox="-46 -4 530 172">{{range .Marks}}<line x1="0" x2="480" y1="{{.At}}" y2="{{.At}}" stroke="#e4e7eb"/><text x="-6" y="{{.At}}" text-anchor="end" dominant-baseline="middle">{{.Text}}</text>{{end}}
{{range .Clock}}<text x="{{.At}}" y="164" text-anchor="middle">{{.Text}}</text>{{end}}
{{range .Lines}}<path d="{{.Path}}" fill="none" stroke="{{.Colour}}" stroke-width="1.4"/>{{end}}</svg>
<ul>{{range .Lines}}<li><b style="background:{{.Colour}}"></b>{{.Legend}} <i>{{.Last}}</i></li>{{else}}<li><i>nothing in this time</i></li>{{end}}</ul>{{end}}</section>{{end}}</main>`))
