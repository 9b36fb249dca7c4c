package hash

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	stdhash "hash"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// The most that a hash from outside may cost: some seconds of a processor. Who
// wants to be slower hurts nobody but the own clients.
const (
	maxIterations = 10_000_000
	maxMemory     = 256 << 10 // KiB, of one argon2id
	maxPasses     = 64        // over its memory
	maxWork       = 2 << 20   // KiB: memory times passes
	maxLanes      = 16
	maxCost       = 16 // bcrypt: 2^16 rounds
)

// mosquittoSalt is the length of mosquitto's salts. It reads no other.
const mosquittoSalt = 12

// salted is mosquitto's $6$: SHA-512 of the password and the salt, once.
type salted struct{ salt, sum []byte }

func parseSHA512(rest string) (Hash, error) {
	salt, sum, ok := strings.Cut(rest, "$")
	if !ok {
		return Hash{}, errors.New("it is not $6$salt$hash")
	}
	var f salted
	var err error
	if f.salt, f.sum, err = decoded(base64.StdEncoding.Strict(), salt, sum); err != nil {
		return Hash{}, err
	}
	if len(f.sum) != sha512.Size {
		return Hash{}, fmt.Errorf("the hash has %d bytes, which SHA-512 never has", len(f.sum))
	}
	return Hash{form: f}, nil
}

func (f salted) fits(password []byte) bool { return same(sha512Of(password, f.salt), f.sum) }

func sha512Of(password, salt []byte) []byte {
	h := sha512.New()
	h.Write(password)
	h.Write(salt)
	return h.Sum(nil)
}

// stretched is PBKDF2 (RFC 8018, section 5.2), in whatever clothes.
type stretched struct {
	digest     func() stdhash.Hash
	iterations int
	salt, sum  []byte
}

func (f stretched) of(password []byte) []byte {
	sum, err := pbkdf2.Key(f.digest, string(password), f.salt, f.iterations, len(f.sum))
	if err != nil { // a FIPS mode that forbids what was asked for
		return nil
	}
	return sum
}

func (f stretched) fits(password []byte) bool { return same(f.of(password), f.sum) }

func newStretched(digest, iterations string, salt, sum []byte) (Hash, error) {
	var d func() stdhash.Hash
	switch digest {
	case "sha1":
		d = sha1.New
	case "sha256":
		d = sha256.New
	case "sha512":
		d = sha512.New
	default:
		return Hash{}, errors.New("PBKDF2 is taken with sha1, sha256 and sha512 alone")
	}
	n, err := bounded("iterations", iterations, 1, maxIterations)
	if err != nil {
		return Hash{}, err
	}
	return Hash{form: stretched{digest: d, iterations: int(n), salt: salt, sum: sum}, lanes: 1, slow: true}, nil
}

// parseMosquittoPBKDF2 reads $7$iterations$salt$hash.
func parseMosquittoPBKDF2(rest string) (Hash, error) {
	parts := strings.Split(rest, "$")
	if len(parts) != 3 {
		return Hash{}, errors.New("it is not $7$iterations$salt$hash")
	}
	salt, sum, err := decoded(base64.StdEncoding.Strict(), parts[1], parts[2])
	if err != nil {
		return Hash{}, err
	}
	if len(sum) != sha512.Size {
		return Hash{}, fmt.Errorf("the hash has %d bytes, which mosquitto's never has", len(sum))
	}
	return newStretched("sha512", parts[0], salt, sum)
}

// parseDjango reads pbkdf2_sha256$iterations$salt$hash, whose salt is text.
func parseDjango(rest string) (Hash, error) {
	parts := strings.Split(rest, "$")
	if len(parts) != 4 {
		return Hash{}, errors.New("it is not pbkdf2_sha256$iterations$salt$hash")
	}
	_, sum, err := decoded(base64.StdEncoding.Strict(), "AAAA", parts[3])
	if err != nil {
		return Hash{}, err
	}
	return newStretched(parts[0], parts[1], []byte(parts[2]), sum)
}

// parseGoAuth reads PBKDF2$sha512$iterations$salt$hash.
func parseGoAuth(rest string) (Hash, error) {
	parts := strings.Split(rest, "$")
	if len(parts) != 4 {
		return Hash{}, errors.New("it is not PBKDF2$sha512$iterations$salt$hash")
	}
	salt, sum, err := decoded(base64.StdEncoding.Strict(), parts[2], parts[3])
	if err != nil {
		return Hash{}, err
	}
	return newStretched(parts[0], parts[1], salt, sum)
}

// parsePHCPBKDF2 reads $pbkdf2-sha256$i=iterations,l=32$salt$hash, and passlib's
// $pbkdf2-sha256$iterations$salt$hash, whose base64 has a dot for the plus.
func parsePHCPBKDF2(rest string) (Hash, error) {
	parts := strings.Split(rest, "$")
	if len(parts) != 4 || !strings.HasPrefix(parts[0], "-") && parts[0] != "" {
		return Hash{}, errors.New("it is not $pbkdf2-sha256$i=iterations$salt$hash")
	}
	digest := strings.TrimPrefix(parts[0], "-")
	if digest == "" {
		digest = "sha1" // passlib's name for the oldest
	}
	dotless := strings.NewReplacer(".", "+")
	salt, sum, err := decoded(base64.RawStdEncoding.Strict(), dotless.Replace(parts[2]), dotless.Replace(parts[3]))
	if err != nil {
		return Hash{}, err
	}
	iterations, length, _ := strings.Cut(strings.TrimPrefix(parts[1], "i="), ",")
	if length != "" && length != fmt.Sprintf("l=%d", len(sum)) {
		return Hash{}, errors.New("the hash is not as long as its parameter l says")
	}
	return newStretched(digest, iterations, salt, sum)
}

// argon is argon2id (RFC 9106).
type argon struct {
	memory, time uint32
	lanes        uint8
	salt, sum    []byte
}

func (f argon) fits(password []byte) bool {
	return same(argon2.IDKey(password, f.salt, f.time, f.memory, f.lanes, uint32(len(f.sum))), f.sum)
}

// parseArgon2 reads $argon2id$v=19$m=…,t=…,p=…$salt$hash.
func parseArgon2(rest string) (Hash, error) {
	parts := strings.Split(rest, "$")
	if parts[0] != "id" {
		return Hash{}, errors.New("of the argon2 hashes only argon2id is taken")
	}
	if len(parts) != 5 || parts[1] != fmt.Sprintf("v=%d", argon2.Version) {
		return Hash{}, fmt.Errorf("it is not $argon2id$v=%d$m=…,t=…,p=…$salt$hash", argon2.Version)
	}
	costs := strings.Split(parts[2], ",")
	if len(costs) != 3 {
		return Hash{}, errors.New("its parameters are not m, t and p")
	}
	var n [3]uint32
	for i, c := range []struct {
		name        string
		least, most uint32
	}{{"m", 8, maxMemory}, {"t", 1, maxPasses}, {"p", 1, maxLanes}} {
		text, ok := strings.CutPrefix(costs[i], c.name+"=")
		if !ok {
			return Hash{}, errors.New("its parameters are not m, t and p")
		}
		var err error
		if n[i], err = bounded(c.name, text, c.least, c.most); err != nil {
			return Hash{}, err
		}
	}
	f := argon{memory: n[0], time: n[1], lanes: uint8(n[2])}
	if f.memory < 8*n[2] { // RFC 9106, section 3.1
		return Hash{}, fmt.Errorf("m: %d is below 8 times p", f.memory)
	}
	if f.memory*f.time > maxWork {
		return Hash{}, fmt.Errorf("m times t is %d, which is above %d", f.memory*f.time, maxWork)
	}
	var err error
	if f.salt, f.sum, err = decoded(base64.RawStdEncoding.Strict(), parts[3], parts[4]); err != nil {
		return Hash{}, err
	}
	if len(f.salt) < 8 { // RFC 9106, section 3.1
		return Hash{}, fmt.Errorf("the salt has %d bytes, which is below 8", len(f.salt))
	}
	return Hash{form: f, lanes: n[2], slow: true}, nil
}

// blowfish is bcrypt.
type blowfish string

func (f blowfish) fits(password []byte) bool {
	return bcrypt.CompareHashAndPassword([]byte(f), password) == nil
}

// parseBcrypt reads $2b$cost$, 22 characters of salt and 31 of hash.
func parseBcrypt(rest string) (Hash, error) {
	if len(rest) != 58 || !strings.ContainsRune("aby", rune(rest[0])) || rest[1] != '$' || rest[4] != '$' {
		return Hash{}, errors.New("it is not $2b$cost$ (or $2a$, $2y$) and 53 characters")
	}
	if _, err := bounded("cost", rest[2:4], uint32(bcrypt.MinCost), maxCost); err != nil {
		return Hash{}, err
	}
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if strings.Trim(rest[5:], alphabet) != "" {
		return Hash{}, errors.New("its salt and hash are not bcrypt's base64")
	}
	return Hash{form: blowfish("$2" + rest), lanes: 1, slow: true}, nil
}
