package vault

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// numbersOwner owns the key that members' numbers are hashed by. It is no member, whose ids have
// a colon (see auth.Identity), so that nobody can have it erased. In all else it is a key like
// theirs: wrapped, re-wrapped, healed, replicated and backed up with them.
const numbersOwner = "numbers"

// errNumbersStay is for whoever would have the key of numbers erased.
var errNumbersStay = errors.New("the key of numbers is no member's, and is not erased")

// Number is the fund's identifier of a member in normal form, by which it is looked for: its
// letters and digits, the letters in upper case (after Unicode's NFKC). Empty for none.
type Number string

// NumberOf returns a number, however it is typed.
func NumberOf(typed string) Number {
	return Number(strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, strings.ToUpper(norm.NFKC.String(typed))))
}

// HashNumber is what is stored of a number to find it by, nil for none: its HMAC (SHA-256) under
// a key of the vault. Without the vault, nobody can try numbers out on a copy of messaging's
// database. The hash stays as long as the vault does, whatever the key set is; one of a vault
// that came back without the key is another, and takes the place of the old one when the member
// writes next.
func (v *Vault) HashNumber(ctx context.Context, number Number) ([]byte, error) {
	if number == "" {
		return nil, nil
	}
	key, err := v.Of(ctx, numbersOwner)
	if err != nil {
		return nil, fmt.Errorf("reading the key of numbers: %w", err)
	}
	secret, err := key.derive("number")
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(number))
	return mac.Sum(nil), nil
}
