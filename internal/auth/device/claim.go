package device

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// claim is what a client says of itself in the way of a device cloud.
type claim struct {
	kind     Kind
	id       string // of the device in the table
	instance string // Baidu: the IoTCoreId
	clientID string // to take the place of what the client said; "": that stays
	userName string // likewise
	at       time.Time
	stamped  bool   // at is what the client says
	mistake  string // what is wrong with the form; then it is refused
	// fits says whether the password comes of the key. It takes as long for a
	// wrong key as for the right one.
	fits func(key string) bool
}

// claimOf reads the user name and client id of a CONNECT. ok is false if they
// are of no form that devices have.
func claimOf(r *access.Request) (c claim, ok bool) {
	switch {
	case !r.HasUserName:
		return claim{}, false
	case strings.HasPrefix(r.UserName, baiduPrefix):
		return baiduClaim(r)
	case strings.Contains(r.UserName, "&"):
		return alibabaClaim(r)
	default:
		return adafruitClaim(r)
	}
}

// alibabaClaim reads the device triple of Alibaba Cloud's IoT Platform:
//
//	client id  clientId|securemode=3,signmethod=hmacsha1,timestamp=789|
//	user name  deviceName&productKey
//	password   hmac_sha1(deviceSecret, "clientId…deviceName…productKey…timestamp…")
//
// What is signed are these fields by the order of their names, each name before
// its value; the timestamp only if it is there. Other parameters, such as _v,
// are for the cloud's statistics and not signed. (Alibaba Cloud IoT Platform,
// "Establish MQTT connections over TCP".)
func alibabaClaim(r *access.Request) (c claim, ok bool) {
	i := strings.LastIndexByte(r.UserName, '&')
	name, product := r.UserName[:i], r.UserName[i+1:]
	c = claim{kind: Alibaba, id: string(Alibaba) + "/" + product + "/" + name, userName: r.UserName, fits: never}
	id, tail, found := strings.Cut(r.ClientID, "|")
	if !found || !strings.HasSuffix(tail, "|") {
		c.mistake = "the client id does not end in |securemode=…,signmethod=…|"
		return c, true
	}
	if c.clientID = id; id == "" {
		c.clientID = product + "." + name
	}
	method, stamp := "hmacmd5", ""
	for part := range strings.SplitSeq(strings.TrimSuffix(tail, "|"), ",") {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "signmethod":
			method = strings.ToLower(value)
		case "timestamp":
			stamp = value
		}
	}
	digest := digests(strings.TrimPrefix(method, "hmac"))
	if digest == nil || !strings.HasPrefix(method, "hmac") {
		c.mistake = fmt.Sprintf("signmethod=%q is not hmacmd5, hmacsha1 or hmacsha256", method)
		return c, true
	}
	signed := "clientId" + id + "deviceName" + name + "productKey" + product
	if stamp != "" {
		signed += "timestamp" + stamp
		if ms, err := strconv.ParseInt(stamp, 10, 64); err == nil {
			c.at, c.stamped = time.UnixMilli(ms), true
		}
	}
	c.fits = func(key string) bool {
		h := hmac.New(digest, []byte(key))
		h.Write([]byte(signed))
		return equalHex(r.Password, h.Sum(nil))
	}
	return c, true
}

const baiduPrefix = "thingidp@"

// baiduClaim reads what a device of Baidu's IoT Core sends:
//
//	user name  thingidp@IoTCoreId|DeviceKey|timestamp|algorithm
//	password   md5(DeviceKey&timestamp&algorithm + DeviceSecret), in hexadecimal
//
// The timestamp, in seconds, may be missing, which is 0, and so may the
// algorithm, which is MD5. (Baidu AI Cloud, IoT Core, "Connect and send messages
// over MQTT".)
func baiduClaim(r *access.Request) (c claim, ok bool) {
	parts := strings.Split(strings.TrimPrefix(r.UserName, baiduPrefix), "|")
	if len(parts) < 2 || len(parts) > 4 {
		return claim{}, false
	}
	c = claim{
		kind: Baidu, id: string(Baidu) + "/" + parts[1], instance: parts[0],
		userName: baiduPrefix + parts[0] + "|" + parts[1], fits: never,
	}
	stamp, algorithm := "0", "MD5"
	for _, part := range parts[2:] {
		if _, err := strconv.ParseInt(part, 10, 64); err == nil {
			stamp = part
		} else if part != "" {
			algorithm = part
		}
	}
	digest := digests(strings.ToLower(algorithm))
	if digest == nil || strings.EqualFold(algorithm, "sha1") {
		c.mistake = fmt.Sprintf("the algorithm %q is not MD5 or SHA256", algorithm)
		return c, true
	}
	if seconds, _ := strconv.ParseInt(stamp, 10, 64); seconds != 0 {
		c.at, c.stamped = time.Unix(seconds, 0), true
	}
	c.fits = func(key string) bool {
		h := digest()
		h.Write([]byte(parts[1] + "&" + stamp + "&" + algorithm + key))
		return equalHex(r.Password, h.Sum(nil))
	}
	return c, true
}

// adafruitClaim reads what a device of Adafruit IO sends: a user name, and the
// key as the password.
func adafruitClaim(r *access.Request) (c claim, ok bool) {
	return claim{
		kind: Adafruit, id: string(Adafruit) + "/" + r.UserName, userName: r.UserName,
		fits: func(key string) bool {
			want, got := sha256.Sum256([]byte(key)), sha256.Sum256(r.Password)
			return subtle.ConstantTimeCompare(want[:], got[:]) == 1
		},
	}, true
}

func never(string) bool { return false }

// digests finds one by its name, nil for others.
func digests(name string) func() hash.Hash {
	switch name {
	case "md5":
		return md5.New
	case "sha1":
		return sha1.New
	case "sha256":
		return sha256.New
	default:
		return nil
	}
}

// equalHex says whether text is want in hexadecimal, in letters of either case.
func equalHex(text, want []byte) bool {
	got := make([]byte, hex.DecodedLen(len(text)))
	n, err := hex.Decode(got, text)
	return err == nil && subtle.ConstantTimeCompare(got[:n], want) == 1
}
