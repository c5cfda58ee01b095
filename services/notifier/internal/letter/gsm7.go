package letter

import (
	"strings"
)

// OnePart is what one SMS holds, in septets (3GPP TS 23.038). A longer text goes
// in parts of 153, each paid for.
const OnePart = 160

// The GSM 7-bit default alphabet and its extension, whose characters cost two
// septets. One character outside both turns the whole text into UCS-2, where a
// part holds 70: "reçu" costs three parts, because ç is not in them (Ç is).
const (
	gsmBasic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtended = "^{}\\[~]|€\f"
)

// Septets returns how much of an SMS the text takes, and false if it cannot be
// written in GSM 7-bit at all.
func Septets(text string) (n int, ok bool) {
	for _, r := range text {
		switch {
		case strings.ContainsRune(gsmBasic, r):
			n++
		case strings.ContainsRune(gsmExtended, r):
			n += 2
		default:
			return 0, false
		}
	}
	return n, true
}
