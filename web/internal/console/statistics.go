package console

import (
	"net/http"
	"strconv"
	"strings"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/chart"
)

// statisticsPage is the agents' figures, with charts drawn here: what a chart shows is
// in a table beside it.
type statisticsPage struct {
	*messagingpb.GetStatisticsResponse
	Period int
	Chart  chart.Days
	Themes []themeBar
	// Proposals are online services that were proposed.
	Proposals []proposal
	// Searches are for supervisors; nil for others, and when nobody can tell.
	Searches *searches
	// OnTime is the share of first answers within the target, in percent.
	OnTime int
}

// themeBar is one theme's line, with the length of its bar in percent.
type themeBar struct {
	*messagingpb.ThemeFigures
	Percent, OnTimePercent int
}

// proposal is a service for a selection of one audience: the same codes may be another's too.
type proposal struct {
	*taxonomypb.SuggestionFigures
	FollowedPercent int
	// Selection are the labels that it has now; its codes when it no longer exists.
	Selection string
}

// selection is how a selection is called.
func (v *visitor) selection(p *taxonomypb.SuggestionFigures) string {
	var codes []string
	for _, code := range []string{p.GetTheme(), p.GetTopic(), p.GetReason()} {
		if code != "" {
			codes = append(codes, code)
		}
	}
	for _, option := range v.Trees.Selections(v.Ctx, p.GetAudience()) {
		if option.Code == strings.Join(codes, "/") {
			return option.Label
		}
	}
	return strings.Join(codes, " › ")
}

// searches are those of members by words, added up.
type searches struct {
	*taxonomypb.GetSearchStatisticsResponse
	Count, Without, Percent int
}

// addSearches adds what a supervisor sees; the rest is worth showing without it.
func (v *visitor) addSearches(page *statisticsPage) {
	if !v.Session.Supervisor {
		return
	}
	figures, err := v.taxonomy.GetSearchStatistics(v.Ctx, &taxonomypb.GetSearchStatisticsRequest{Days: int32(page.Period)}) //nolint:gosec // at most 366
	if err != nil {
		return
	}
	page.Searches = &searches{GetSearchStatisticsResponse: figures}
	for _, day := range figures.GetDays() {
		page.Searches.Count += int(day.GetSearches())
		page.Searches.Without += int(day.GetWithoutChoice())
	}
	page.Searches.Percent = chart.Percent(int32(page.Searches.Without), int32(page.Searches.Count)) //nolint:gosec // as the wire has them
}

func (v *visitor) showStatistics() error {
	asked, err := strconv.ParseInt(v.R.FormValue("jours"), 10, 32)
	period := int32(asked)
	if err != nil || period < 1 || period > 366 {
		period = 30
	}
	figures, err := v.agents.GetStatistics(v.Ctx, &messagingpb.GetStatisticsRequest{Days: period})
	if err != nil {
		return err
	}
	page := statisticsPage{
		GetStatisticsResponse: figures, Period: int(period), Chart: chart.Draw(figures.GetDays()),
		OnTime: chart.Percent(figures.GetAnswers().GetOnTime(), figures.GetAnswers().GetAnswered()),
	}
	var most int32
	for _, theme := range figures.GetThemes() {
		most = max(most, theme.GetReceived())
	}
	for _, theme := range figures.GetThemes() {
		page.Themes = append(page.Themes, themeBar{theme, chart.Percent(theme.GetReceived(), most), chart.Percent(theme.GetOnTime(), theme.GetAnswered())})
	}
	proposals, err := v.taxonomy.GetSuggestionStatistics(v.Ctx, &taxonomypb.GetSuggestionStatisticsRequest{Days: period})
	if err == nil { // the rest is worth showing without them
		for _, p := range proposals.GetFigures() {
			page.Proposals = append(page.Proposals, proposal{p, chart.Percent(p.GetFollowed(), p.GetShown()), v.selection(p)})
		}
	}
	v.addSearches(&page)
	return v.Show(http.StatusOK, "statistics", page)
}
