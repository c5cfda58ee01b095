package web

import (
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// countChars counts a text as the service does: Unicode code points after CRLF to LF,
// NFC, and trimming of outer white space. The script of the page counts alike.
func countChars(text string) int {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	n := 0
	for range strings.TrimFunc(norm.NFC.String(text), unicode.IsSpace) {
		n++
	}
	return n
}

// checkText tells what the service will refuse about the length of a member's text,
// so that it is told on the page where it can be mended. What else may be wrong, the
// service tells when the message is sent.
func (v *visit) checkText(text string) *fault {
	chars := countChars(text)
	details := map[string]string{"actual": strconv.Itoa(chars)}
	switch {
	case chars < int(textLimits.GetMin()):
		details["limit"] = strconv.Itoa(int(textLimits.GetMin()))
		return &fault{"text", v.faultText("BODY_TOO_SHORT", details)}
	case chars > int(textLimits.GetMax()):
		details["limit"] = strconv.Itoa(int(textLimits.GetMax()))
		return &fault{"text", v.faultText("BODY_TOO_LONG", details)}
	}
	return nil
}
