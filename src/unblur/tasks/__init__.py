"""What a user wants: picture in, picture out. The only layer that joins everything below.

The modules here are what is wanted of pictures in memory: to deblur them, to have their frames, their blur, their
order. They stand on ``models`` that are ready to run, and ``drawings``. Folders have what commands do with ``files``,
``ordering`` clips, making ``datasets``, and ``measuring`` models.
"""
