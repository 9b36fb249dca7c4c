package store

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// The first byte of a key, and of a session's key the byte behind its client.
const (
	keyRetained = 'r'
	keyBody     = 'b'
	keyCount    = 'n'
	keySession  = 'c'
	keyExpiry   = 'x'
	keySetting  = 's'

	tagOpened     = 1
	tagClosed     = 2
	tagPosition   = 3
	tagWill       = 4
	tagSubscribed = 5
	tagReceived   = 6
	tagChunk      = 7
)

const (
	chunkTail   = 1 + 8 + 1     // tag, last seq, whether it refers to bodies
	expiresTail = chunkTail + 8 // and when all of it has expired
)

// sessionPrefix is what all keys of a session begin with. A client identifier
// holds no U+0000 [MQTT-1.5.4-2], so none is the beginning of another.
func sessionPrefix(client string) []byte {
	return append(append([]byte{keySession}, client...), 0)
}

// behind is the first key that does not begin with prefix, which ends in a
// byte below 0xFF.
func behind(dst, prefix []byte) []byte {
	dst = append(dst, prefix...)
	dst[len(dst)-1]++
	return dst
}

func tagged(dst, prefix []byte, tag byte) []byte {
	return append(append(dst, prefix...), tag)
}

func receivedKey(dst, prefix []byte, id uint16) []byte {
	return binary.BigEndian.AppendUint16(tagged(dst, prefix, tagReceived), id)
}

// chunkFrom is the smallest key of a chunk that may hold seq.
func chunkFrom(dst, prefix []byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(tagged(dst, prefix, tagChunk), seq)
}

func chunkKey(dst, prefix []byte, c chunk) []byte {
	dst = append(chunkFrom(dst, prefix, c.last), byte(btoi(c.refers)))
	if c.expires > 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(c.expires))
	}
	return dst
}

// chunkOf reads what stands behind a session's prefix in the key of a chunk.
func chunkOf(key, prefix []byte) (c chunk, ok bool) {
	tail := key[len(prefix):]
	if len(tail) != chunkTail && len(tail) != expiresTail || tail[0] != tagChunk {
		return c, false
	}
	c.last, c.refers = binary.BigEndian.Uint64(tail[1:]), tail[9] == 1
	if len(tail) == expiresTail {
		c.expires = int64(binary.BigEndian.Uint64(tail[chunkTail:]))
	}
	return c, true
}

// expiryKey is where a chunk of which all has expired at a time is found by it.
func expiryKey(dst, prefix []byte, at int64, last uint64) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, keyExpiry), uint64(at))
	dst = append(dst, prefix[1:]...)
	return binary.BigEndian.AppendUint64(dst, last)
}

// expiryOf reads such a key and its value.
func expiryOf(key, value []byte) (r record.Run, ok bool) {
	const around = 1 + 8 + 1 + 8
	if len(key) < around || key[len(key)-9] != 0 {
		return r, false
	}
	numbers := chunkReader{b: value}
	first, _ := numbers.number()
	messages, _ := numbers.number()
	bytes, err := numbers.number()
	return record.Run{
		Client: string(key[9 : len(key)-9]), First: first, Last: binary.BigEndian.Uint64(key[len(key)-8:]),
		At: int64(binary.BigEndian.Uint64(key[1:])), Messages: int(messages), Bytes: int(bytes),
	}, err == nil
}

func bodyKey(dst []byte, kind byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, kind), id)
}

// clientOf reads a session's key: its client, and what all its keys begin with.
func clientOf(key []byte) (client string, prefix []byte, err error) {
	end := bytes.IndexByte(key, 0)
	if end < 1 || end == len(key)-1 || key[0] != keySession {
		return "", nil, errors.New("a key of no session")
	}
	return string(key[1:end]), key[:end+1], nil
}
