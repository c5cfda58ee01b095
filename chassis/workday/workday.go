// Package workday counts the working days of a fund: Monday to Friday in Paris, without the
// eleven public holidays of article L. 3133-1 of the French labour code. Those of one part of
// the country alone, such as Good Friday in Alsace and Moselle, are working days here.
//
// Holidays are computed, so that no table has to be renewed.
package workday

import (
	"time"

	"github.com/ma-messagerie/messagerie/chassis/localtime"
)

// Before returns the day, at midnight in Paris, before which an answer comes that takes at
// most so many working days: the working day after the last of them. The day of receipt is
// not counted, as in the fund's own figures.
func Before(receipt time.Time, days int) time.Time {
	day := midnight(receipt)
	for range days + 1 {
		day = day.AddDate(0, 0, 1)
		for !Has(day) {
			day = day.AddDate(0, 0, 1)
		}
	}
	return day
}

// Has reports whether a moment is on a working day.
func Has(at time.Time) bool {
	day := midnight(at)
	return day.Weekday() != time.Saturday && day.Weekday() != time.Sunday && !isHoliday(day)
}

func midnight(at time.Time) time.Time {
	at = at.In(localtime.Paris)
	return time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, localtime.Paris)
}

func isHoliday(day time.Time) bool {
	for _, holiday := range Holidays(day.Year()) {
		if day.Equal(holiday) {
			return true
		}
	}
	return false
}

// Holidays are the public holidays of a year from 1583 on, each at midnight in Paris.
func Holidays(year int) [11]time.Time {
	day := func(month time.Month, n int) time.Time { return time.Date(year, month, n, 0, 0, 0, 0, localtime.Paris) }
	month, n := easter(year)
	return [11]time.Time{
		day(time.January, 1),
		day(month, n+1), // Easter Monday
		day(time.May, 1),
		day(time.May, 8),
		day(month, n+39), // Ascension
		day(month, n+50), // Whit Monday
		day(time.July, 14),
		day(time.August, 15),
		day(time.November, 1),
		day(time.November, 11),
		day(time.December, 25),
	}
}

// easter is Easter Sunday in the Gregorian calendar, by the algorithm that Nature published in
// 1876 (Meeus, Astronomical Algorithms, chapter 8), whose letters these are.
func easter(year int) (month time.Month, day int) {
	a, b, c := year%19, year/100, year%100
	d, e := b/4, b%4
	g := (8*b + 13) / 25
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 22*l) / 451
	n := h + l - 7*m + 114
	return time.Month(n / 31), n%31 + 1
}
