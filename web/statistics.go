package web

import (
	"fmt"
	"math"
	"net/http"
	"strconv"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// statisticsPage is the agents' figures, with charts drawn here: what a chart shows is
// in a table beside it.
type statisticsPage struct {
	console
	*messagingpb.GetStatisticsResponse
	Period int
	Chart  dayChart
	Themes []themeBar
	// Proposals are online services that were proposed.
	Proposals []proposal
	// OnTime is the share of first answers within the target, in percent.
	OnTime int
}

// dayChart is bars of a day each: received, and answered in front of it.
type dayChart struct {
	Width, Height int
	Most          int32
	Bars          []dayBar
}

type dayBar struct {
	Date                                   string
	X, Width                               float64
	ReceivedY, Received, AnsweredY, Answer float64
	Figures                                *messagingpb.DayFigures
}

// themeBar is one theme's line, with the length of its bar in percent.
type themeBar struct {
	*messagingpb.ThemeFigures
	Percent, OnTimePercent int
}

type proposal struct {
	*taxonomypb.SuggestionFigures
	FollowedPercent int
}

const (
	chartWidth  = 720
	chartHeight = 180
)

func (v *visit) showStatistics() error {
	asked, err := strconv.ParseInt(v.r.FormValue("jours"), 10, 32)
	period := int32(asked)
	if err != nil || period < 1 || period > 366 {
		period = 30
	}
	figures, err := v.agents.GetStatistics(v.ctx, &messagingpb.GetStatisticsRequest{Days: period})
	if err != nil {
		return err
	}
	page := statisticsPage{
		console: v.console(), GetStatisticsResponse: figures, Period: int(period), Chart: drawDays(figures.GetDays()),
		OnTime: percent(figures.GetAnswers().GetOnTime(), figures.GetAnswers().GetAnswered()),
	}
	var most int32
	for _, theme := range figures.GetThemes() {
		most = max(most, theme.GetReceived())
	}
	for _, theme := range figures.GetThemes() {
		page.Themes = append(page.Themes, themeBar{theme, percent(theme.GetReceived(), most), percent(theme.GetOnTime(), theme.GetAnswered())})
	}
	proposals, err := v.taxonomy.GetSuggestionStatistics(v.ctx, &taxonomypb.GetSuggestionStatisticsRequest{Days: period})
	if err == nil { // the rest is worth showing without them
		for _, p := range proposals.GetFigures() {
			page.Proposals = append(page.Proposals, proposal{p, percent(p.GetFollowed(), p.GetShown())})
		}
	}
	return v.show(http.StatusOK, "statistics", page)
}

func percent(part, whole int32) int {
	if whole == 0 {
		return 0
	}
	return int(math.Round(100 * float64(part) / float64(whole)))
}

// drawDays places a bar for each day.
func drawDays(days []*messagingpb.DayFigures) dayChart {
	chart := dayChart{Width: chartWidth, Height: chartHeight, Most: 1}
	for _, day := range days {
		chart.Most = max(chart.Most, day.GetReceived(), day.GetAnswered())
	}
	slot := float64(chartWidth) / float64(max(len(days), 1))
	height := func(n int32) float64 { return math.Round(float64(n)/float64(chart.Most)*chartHeight*10) / 10 }
	for i, day := range days {
		received, answered := height(day.GetReceived()), height(day.GetAnswered())
		chart.Bars = append(chart.Bars, dayBar{
			Date: day.GetDate(), X: math.Round((float64(i)+.1)*slot*10) / 10, Width: math.Round(slot*8) / 10,
			Received: received, ReceivedY: chartHeight - received, Answer: answered, AnsweredY: chartHeight - answered, Figures: day,
		})
	}
	return chart
}

// Third is a third of a bar's width: that of the narrower bar in front of it.
func (b dayBar) Third() string { return fmt.Sprintf("%.1f", b.Width/3) }

// ThirdX is where that begins.
func (b dayBar) ThirdX() string { return fmt.Sprintf("%.1f", b.X+b.Width/3) }
