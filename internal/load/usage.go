package load

import "time"

// usage is one look at every clock that a run compares. Those that cannot be
// read stand still.
type usage struct {
	broker, own, machine time.Duration
}

// readUsage reads the clocks; without a broker's process, that one is left out.
func readUsage(pid int) (usage, error) {
	var u usage
	var err error
	if pid > 0 {
		if u.broker, err = CPU(pid); err != nil {
			return usage{}, err
		}
	}
	if u.own, err = ownCPU(); err != nil {
		return usage{}, err
	}
	u.machine, err = machineCPU()
	return u, err
}

// readRSS is the resident memory of the broker; 0 without its process.
func readRSS(pid int) (int64, error) {
	if pid == 0 {
		return 0, nil
	}
	return RSS(pid)
}
