// Package chart places bars, for the charts of the agents' figures.
//
// # What is promised
//
// All that a chart shows is in the figures too, for the table beside it. What was received and
// what was answered have a chart each, on one scale, so that no bar is told from another by
// its colour. Coordinates are those of an SVG of Width by Height, to a tenth. The scale ends
// at an even number, so that its half is a whole one; days without anything have bars of none.
//
// # When it breaks
//
// Without days there are no bars; a figure is never divided by zero.
package chart

import (
	"math"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

const (
	width  = 720
	height = 120
)

// Days is two charts with a bar for each day.
type Days struct {
	Width, Height int
	// Top is the number at the upper end of the scale, Half that in its middle.
	Top, Half int32
	// Marks are the days named below: the first, the one in the middle and the last.
	Marks              []string
	Received, Answered Plot
	Figures            []*messagingpb.DayFigures
}

// Plot is one chart. Most is its highest number.
type Plot struct {
	Most int32
	Bars []Bar
}

// Bar is the place of one bar; its foot is at the chart's.
type Bar struct{ X, Y, Width, Height float64 }

// Draw places a bar for each day.
func Draw(days []*messagingpb.DayFigures) Days {
	chart := Days{Width: width, Height: height, Figures: days}
	for _, day := range days {
		chart.Received.Most = max(chart.Received.Most, day.GetReceived())
		chart.Answered.Most = max(chart.Answered.Most, day.GetAnswered())
	}
	most := max(chart.Received.Most, chart.Answered.Most, 1)
	chart.Top = most + most%2
	chart.Half = chart.Top / 2
	slot := float64(width) / float64(max(len(days), 1))
	bar := func(i int, n int32) Bar {
		tall := tenth(float64(n) / float64(chart.Top) * height)
		return Bar{X: tenth((float64(i) + .1) * slot), Y: height - tall, Width: tenth(slot * .8), Height: tall}
	}
	last := len(days) - 1
	for i, day := range days {
		chart.Received.Bars = append(chart.Received.Bars, bar(i, day.GetReceived()))
		chart.Answered.Bars = append(chart.Answered.Bars, bar(i, day.GetAnswered()))
		if i == 0 || i == last || i == last/2 {
			chart.Marks = append(chart.Marks, day.GetDate())
		}
	}
	return chart
}

func tenth(x float64) float64 { return math.Round(x*10) / 10 }

// Percent is a part of a whole, rounded; 0 of nothing.
func Percent(part, whole int32) int {
	if whole == 0 {
		return 0
	}
	return int(math.Round(100 * float64(part) / float64(whole)))
}

// Middle is where the line of half the scale is.
func (Days) Middle() int { return height / 2 }
