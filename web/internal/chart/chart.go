// Package chart places bars, for the charts of the agents' figures.
//
// # What is promised
//
// All that a chart shows is in Figures too, for the table beside it. Coordinates are those of
// an SVG of Width by Height, to a tenth; the tallest bar has the full height, and days without
// anything have bars of none.
//
// # When it breaks
//
// Without days there are no bars; a figure is never divided by zero.
package chart

import (
	"fmt"
	"math"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

const (
	width  = 720
	height = 180
)

// Days is bars of a day each: received, and answered in front of it.
type Days struct {
	Width, Height int
	Most          int32
	Bars          []Day
}

// Day is the bars of one day.
type Day struct {
	Date                                   string
	X, Width                               float64
	ReceivedY, Received, AnsweredY, Answer float64
	Figures                                *messagingpb.DayFigures
}

// Draw places a bar for each day.
func Draw(days []*messagingpb.DayFigures) Days {
	chart := Days{Width: width, Height: height, Most: 1}
	for _, day := range days {
		chart.Most = max(chart.Most, day.GetReceived(), day.GetAnswered())
	}
	slot := float64(width) / float64(max(len(days), 1))
	tall := func(n int32) float64 { return math.Round(float64(n)/float64(chart.Most)*height*10) / 10 }
	for i, day := range days {
		received, answered := tall(day.GetReceived()), tall(day.GetAnswered())
		chart.Bars = append(chart.Bars, Day{
			Date: day.GetDate(), X: math.Round((float64(i)+.1)*slot*10) / 10, Width: math.Round(slot*8) / 10,
			Received: received, ReceivedY: height - received, Answer: answered, AnsweredY: height - answered, Figures: day,
		})
	}
	return chart
}

// Percent is a part of a whole, rounded; 0 of nothing.
func Percent(part, whole int32) int {
	if whole == 0 {
		return 0
	}
	return int(math.Round(100 * float64(part) / float64(whole)))
}

// Third is a third of a bar's width: that of the narrower bar in front of it.
func (b Day) Third() string { return fmt.Sprintf("%.1f", b.Width/3) }

// ThirdX is where that begins.
func (b Day) ThirdX() string { return fmt.Sprintf("%.1f", b.X+b.Width/3) }
