"""A server with everything the protocol has, under the names the conformance suite asks for.

Written for the suite's two uses here: it is what the platform reaches through its gateway, and by
itself it shows that a failure through the gateway is the gateway's. One server serves both eras.
"""
