package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/core/cryptofmt"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keyset wraps the keys of members: its primary key wraps, every key unwraps.
type Keyset struct {
	wrapper tink.AEAD
	// primary is tink's id of the primary key, and ids are those of all that unwrap.
	primary uint32
	ids     []uint32
	// digest is that of what it was read from.
	digest [sha256.Size]byte
}

// OpenKeyset reads a key set in tink's JSON format. Its error quotes nothing of it.
func OpenKeyset(cleartext string) (*Keyset, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewBufferString(cleartext)))
	if err != nil {
		return nil, errors.New("reading the key set: not a tink key set in JSON; make one with tinkey (AES256_GCM)")
	}
	return keysetOf(handle, sha256.Sum256([]byte(cleartext)))
}

// keysetOf uses what was read; digest is that of what it was read from.
func keysetOf(handle *keyset.Handle, digest [sha256.Size]byte) (*Keyset, error) {
	wrapper, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("reading the key set: %w", err)
	}
	info := handle.KeysetInfo()
	keys := &Keyset{wrapper: wrapper, primary: info.GetPrimaryKeyId(), digest: digest}
	for _, key := range info.GetKeyInfo() {
		if key.GetStatus() != tinkpb.KeyStatusType_ENABLED {
			continue
		}
		if key.GetOutputPrefixType() != tinkpb.OutputPrefixType_TINK {
			// Of what it wraps, nobody could say by which key.
			return nil, fmt.Errorf("reading the key set: key %d has not the output prefix TINK; make one with tinkey (AES256_GCM)", key.GetKeyId())
		}
		keys.ids = append(keys.ids, key.GetKeyId())
	}
	return keys, nil
}

// maxKeysetBytes bounds the file of a key set.
const maxKeysetBytes = 1 << 20

// ReadKeyset reads the file of a key set by open: the function OpenKeyset, or that of a [KEK].
func ReadKeyset(path string, open func(content string) (*Keyset, error)) (*Keyset, error) {
	content, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return open(content)
}

func readFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the key set: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxKeysetBytes))
	if err != nil {
		return "", fmt.Errorf("reading the key set: %w", err)
	}
	return string(content), nil
}

// NewKeyset returns a new key set with one AES-256-GCM key, in the JSON that OpenKeyset takes.
func NewKeyset() (string, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return "", fmt.Errorf("making a key set: %w", err)
	}
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		return "", fmt.Errorf("writing a key set: %w", err)
	}
	return out.String(), nil
}

// prefixBytes is the length of what tink puts before a ciphertext: a byte, and the id of the key
// that it is sealed by.
const prefixBytes = cryptofmt.TinkPrefixSize

// sealedBy is the id of the key that something is sealed by; 0 if that cannot be said.
func sealedBy(ciphertext []byte) uint32 {
	if len(ciphertext) < prefixBytes || ciphertext[0] != cryptofmt.TinkStartByte {
		return 0
	}
	return binary.BigEndian.Uint32(ciphertext[1:prefixBytes])
}

// prefixOf is what begins a ciphertext that a key with this id has sealed.
func prefixOf(id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{cryptofmt.TinkStartByte}, id)
}

// wrap encrypts the secret of a member's key, bound to the key's id and its member.
func (k *Keyset) wrap(id uuid.UUID, member string, secret []byte) ([]byte, error) {
	wrapped, err := k.wrapper.Encrypt(secret, bound("member-key", id.String(), member))
	if err != nil {
		return nil, fmt.Errorf("wrapping key %s: %w", id, err)
	}
	return wrapped, nil
}

func (k *Keyset) unwrap(id uuid.UUID, member string, wrapped []byte) ([]byte, error) {
	secret, err := k.wrapper.Decrypt(wrapped, bound("member-key", id.String(), member))
	if err != nil {
		return nil, fmt.Errorf("unwrapping key %s: %w", id, err)
	}
	return secret, nil
}

// seal encrypts what is neither a key nor a member's, for a purpose.
func (k *Keyset) seal(purpose, plain string) ([]byte, error) {
	sealed, err := k.wrapper.Encrypt([]byte(plain), bound(purpose))
	if err != nil {
		return nil, fmt.Errorf("sealing a %s: %w", purpose, err)
	}
	return sealed, nil
}

func (k *Keyset) open(purpose string, sealed []byte) (string, error) {
	plain, err := k.wrapper.Decrypt(sealed, bound(purpose))
	if err != nil {
		return "", fmt.Errorf("opening a %s: %w", purpose, err)
	}
	return string(plain), nil
}
